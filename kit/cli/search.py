"""`edgeproof quantize --search`: run it, keep what it finds, and say so whatever ends it."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from kit.cli.output import print_json
from kit.errors import EdgeproofError, InterruptError, StoreError, UsageError
from kit.records import Arithmetic

if TYPE_CHECKING:
    from kit.pipeline.material import Material, Request
    from kit.pipeline.search import Asked
    from kit.pipeline.search_folder import SearchFolder
    from kit.records import RunRecord


def run(
    request: "Request",
    out: Path | None,
    *,
    force: bool,
    quiet: bool,
    as_json: bool,
    evaluations: int,
    time_limit: str | None,
    seed: int,
    arithmetic: Arithmetic | None,
    resume: bool,
) -> int:
    """Search, write the folder, print what was found; the exit code."""
    from kit.cli.progress import Progress
    from kit.cli.search_text import search_object, tell_search
    from kit.model.search import Budget
    from kit.pipeline.material import read_request
    from kit.pipeline.search import EXIT_CODES, EXPECTED_S, read_search, run_search
    from kit.pipeline.search_folder import BEST, RECORD, SearchFolder

    budget = Budget(evaluations, _seconds(time_limit))
    if request.data is None or request.profile is None:
        raise UsageError("a search needs --profile, and --data with labels", next_step="see: edgeproof quantize --help")
    material = read_request(request)
    asked = read_search(material, seed, arithmetic)
    path = out or Path(f"{request.model.stem}.search")
    folder = SearchFolder(path, _identity(asked, material, path), resume=resume, force=force)
    words = _words(request, path, evaluations, time_limit, seed, arithmetic)
    progress = Progress(dict(EXPECTED_S), quiet=quiet)
    try:
        found = run_search(asked, folder, budget, progress)
        said = search_object(found, folder, request)
        if found.record.chosen is not None:
            folder.write(BEST, folder.data_of(found.record.points[found.record.chosen]))
        folder.write(RECORD, json.dumps(said, indent=2, allow_nan=False).encode())
    except EdgeproofError as error:
        if not isinstance(error, StoreError) or error.what.startswith("cannot be written"):
            error.kept = error.kept or _kept(folder, words)
        raise
    except KeyboardInterrupt as interrupt:
        raise InterruptError(str(interrupt) or "interrupted", kept=_kept(folder, words)) from interrupt
    finally:
        progress.close()
        folder.release()
    if as_json:
        print_json(said)
    else:
        tell_search(found, folder, request)
    return EXIT_CODES[found.verdict]


def _seconds(text: str | None) -> float | None:
    from kit.spec.units import parse

    return None if text is None else parse(text, "time", "--time-limit")


def _identity(asked: "Asked", material: "Material", path: Path) -> "RunRecord":
    from kit.pipeline.search_folder import identity_of

    spec, profile, dataset = material.spec, asked.profile, asked.dataset
    return identity_of(
        path,
        command=("edgeproof", "quantize", "--search"),
        seed=asked.seed,
        source_digest=material.reference.record.digest,
        profile_name=profile.name,
        profile_digest=profile.digest,
        dataset_name=dataset.name,
        dataset_digest=dataset.digest,
        device_name=spec.name if spec else f"this host, {asked.arithmetic or 'default'} sums",
        device_digest=spec.digest if spec else "",
    )


def _words(
    request: "Request", path: Path, evaluations: int, time_limit: str | None, seed: int, arithmetic: str | None
) -> str:
    """The command that goes on with this search."""
    options = {
        "--data": request.data, "--profile": request.profile, "--device": request.device,
        "--evaluations": evaluations if evaluations != 5 else None, "--time-limit": time_limit, "--seed": seed or None,
        "--arithmetic": arithmetic, "-o": path,
    }  # fmt: skip
    given = [word for name, value in options.items() if value is not None for word in (name, str(value))]
    return shlex.join(["edgeproof", "quantize", str(request.model), "--search", *given, "--resume"])


def _kept(folder: "SearchFolder", words: str) -> str:
    """What is not lost, the best of it, and how to go on."""
    from kit.pipeline.search import best_so_far

    try:
        folder.mend()
        points, files = folder.points(), folder.files()
    except StoreError:
        return f"what is in {folder.path}; go on with: {words}"
    best = best_so_far(points)
    if best is not None:
        return f"{len(points)} evaluated; best so far {folder.path / files[best]}; go on with: {words}"
    if folder.replaces:
        return f"the search that was in {folder.path}"
    return f"nothing was evaluated yet; go on with: {words}"
