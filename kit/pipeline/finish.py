"""The end of a run: judge what is stored, render the report, write the certificate; and verify all of it again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit import certificate
from kit.digest import digest_bytes, digest_file
from kit.errors import CertificateError, EdgeproofError
from kit.judge import judge
from kit.pipeline.evidence import Bundle, load_bundle
from kit.records import Judgement
from kit.report import View, build_view, emulated_parts, render_html
from kit.store import Run

REPORT = "report.html"
CERTIFICATE = "certificate.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished run: what was judged, the view of it, and the files that were written."""

    run: Run
    bundle: Bundle
    judgement: Judgement
    view: View
    report: Path
    certificate: Path


def judge_run(run: Run) -> tuple[Bundle, Judgement]:
    """Judge a run from its stored records alone."""
    bundle = load_bundle(run)
    return bundle, judge(bundle.evidence, bundle.profile, bundle.device)


def finish(run: Run) -> Outcome:
    """Judge, keep the judgement, and write report and certificate."""
    bundle, judgement = judge_run(run)
    run.put("judgement", judgement)
    view = view_of(run, bundle, judgement)
    report = run.write(REPORT, render_html(view).encode())
    path = run.write(CERTIFICATE, _certificate(run, bundle, judgement, {REPORT: digest_file(report)}))
    return Outcome(run, bundle, judgement, view, report, path)


def _certificate(run: Run, bundle: Bundle, judgement: Judgement, files: Mapping[str, str]) -> bytes:
    emulated = emulated_parts(bundle.evidence, bundle.device)
    built = certificate.build(run.record, bundle.evidence, judgement, emulated=emulated, steps=run.steps, files=files)
    return certificate.to_bytes(built)


def reopen(run: Run) -> Outcome:
    """A finished run, judged again from its records; writes nothing."""
    bundle, judgement = judge_run(run)
    return Outcome(run, bundle, judgement, view_of(run, bundle, judgement), run.path / REPORT, run.path / CERTIFICATE)


def view_of(run: Run, bundle: Bundle, judgement: Judgement) -> View:
    """What a report shows of a run."""
    return build_view(run.record, bundle.evidence, judgement, bundle.profile, bundle.device, run.steps)


@dataclass(frozen=True, slots=True)
class Verification:
    """What `verify` found: each check by name, and None where it holds or else what is wrong."""

    verdict: str
    statement: str
    checks: dict[str, str | None]

    @property
    def holds(self) -> bool:
        """Whether every check held."""
        return all(problem is None for problem in self.checks.values())


def verify(path: Path) -> Verification:
    """Check a certificate against its run folder: every digest, and every verdict judged again from the records.

    Args:
        path: a certificate file, or the run folder that has it.

    Raises:
        EdgeproofError: the certificate or the run cannot be read at all.
    """
    path = path / CERTIFICATE if path.is_dir() else path
    stated = certificate.parse(_read(path), where=str(path))["predicate"]
    run = Run.load(path.parent)
    checks: dict[str, str | None] = {}
    checks["records are those that the certificate names"] = _same_records(run, stated)
    checks["every record and array is intact"] = _attempt(lambda: _read_all(run))
    checks["files are those that the certificate names"] = _attempt(lambda: _same_files(path.parent, stated))
    checks["verdicts judged again from the records are equal"] = _attempt(lambda: _judge_again(run, path))
    return Verification(stated["verdict"], stated["statement"], checks)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(
            "no certificate here", where=str(path), next_step="give a run folder, or its certificate.json"
        ) from error


def _attempt(check: Callable[[], str | None]) -> str | None:
    try:
        return check()
    except EdgeproofError as error:
        return str(error)


def _same_records(run: Run, stated: dict[str, Any]) -> str | None:
    differing = {
        name
        for name in run.steps.keys() | stated["records"].keys()
        if run.steps.get(name) != stated["records"].get(name)
    }
    return f"differs: {', '.join(sorted(differing))}" if differing else None


def _read_all(run: Run) -> None:
    """Reading checks each object's digest: every record, every array, and every model that was run."""
    evidence = load_bundle(run).evidence
    for model in (evidence.reference, *(variant.variant.model for variant in evidence.variants)):
        run.objects.get(model.digest)


def _same_files(folder: Path, stated: dict[str, Any]) -> str | None:
    for name, digest in stated["files"].items():
        if Path(name).name != name:
            return f"{name!r} is no plain file name"
        if digest_bytes(_read(folder / name)) != digest:
            return f"{name} has changed since it was certified"
    return None


def _judge_again(run: Run, path: Path) -> str | None:
    bundle, judgement = judge_run(run)
    data = _read(path)
    files = certificate.parse(data, where=str(path))["predicate"]["files"]
    if _certificate(run, bundle, judgement, files) == data:
        return None
    return "the certificate does not say what its records say"
