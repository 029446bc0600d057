"""Does a certificate say what its evidence says? Every digest is checked, and every verdict is judged again.

What this shows is that certificate, records and files agree with each other and with the plan. It does not show who
measured: a certificate is not signed yet.
"""

import shlex
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kit import certificate
from kit.digest import digest_bytes
from kit.errors import CertificateError, EdgeproofError
from kit.pipeline.evidence import Bundle, load_bundle
from kit.pipeline.finish import CERTIFICATE, REPORT, certificate_bytes, is_check, judge_run
from kit.pipeline.plan import resume_words
from kit.spec import load_device, load_profile
from kit.spec.link import device_at, is_link
from kit.spec.types import DeviceSpec
from kit.store import Run, read_regular

MAX_FILE_BYTES = 64 << 20
"""Largest certificate or report that is read."""

Check = Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class Verification:
    """What was found: each check by name, and None where it holds or else what is wrong."""

    verdict: str
    statement: str
    checks: dict[str, str | None]

    @property
    def holds(self) -> bool:
        """Whether every check held."""
        return all(problem is None for problem in self.checks.values())


def verify(path: Path) -> Verification:
    """Check a certificate against its run folder, all of which may come from anyone.

    Args:
        path: a certificate file, or the run folder that has it.

    Raises:
        EdgeproofError: there is no certificate or no run to check.
    """
    path = path / CERTIFICATE if path.is_dir() else path
    _require_finished(path)
    data = read_regular(path, MAX_FILE_BYTES)
    stated = certificate.parse(data, where=str(path))["predicate"]
    run = Run.load(path.parent)
    checks: dict[str, Check] = {
        "records are those that the certificate names": lambda: _same_records(run, stated),
        "every record, array and model is intact": lambda: _all_intact(run),
        "records are of what was planned": lambda: _as_planned(run),
        "the report is the one that the certificate names": lambda: _same_report(path.parent, stated),
        "the certificate says what judging its records again gives": lambda: _judged_again(run, data, stated),
    }
    return Verification(
        stated["verdict"], stated["statement"], {name: _attempt(check) for name, check in checks.items()}
    )


def _require_finished(path: Path) -> None:
    """A certificate is a run's last file: a run without it was interrupted, or has lost it."""
    if not path.exists() and (path.parent / "run.json").is_file():
        run, what = Run.load(path.parent), "this run has no certificate: it is not finished"
        next_step = f"finish it: {resume_words(run)}"
        report = shlex.join(["edgeproof", "report", str(path.parent)])  # by its name it is looked for in --runs alone
        if run.record.command[1:2] == ("bench",):
            what = "this is a run of edgeproof bench: it measures, and gives no verdict that could be verified"
            next_step = f"its figures: {report}"
        if is_check(run):
            what = "this is a run of edgeproof check: it judges rows, and certifies no device"
            next_step = f"its verdict, judged again from its records: {report}"
        raise CertificateError(what, where=str(path.parent), next_step=next_step)


def _attempt(check: Check) -> str | None:
    try:
        return check()
    except EdgeproofError as error:
        return str(error)
    except (ValueError, TypeError, KeyError, IndexError, ArithmeticError, AttributeError, MemoryError) as error:
        return f"the records are malformed ({type(error).__name__})"


def _same_records(run: Run, stated: dict[str, Any]) -> str | None:
    names = run.steps.keys() | stated["records"].keys()
    differing = sorted(name for name in names if run.steps.get(name) != stated["records"].get(name))
    return f"differs: {', '.join(differing)}" if differing else None


def _all_intact(run: Run) -> str | None:
    """Reading checks each object's digest: every record, every array, and every model that was run."""
    evidence = load_bundle(run).evidence
    for model in (evidence.reference, *(variant.variant.model for variant in evidence.variants)):
        if len(run.objects.get(model.digest)) != model.size_bytes:
            return f"{model.name} has another size than its record states"
    return None


def _as_planned(run: Run) -> str | None:
    """The plan's digests are those of the records, and of the files from which limits and battery were read."""
    bundle, plan = load_bundle(run), run.record
    pairs = {
        "source model": (plan.source_digest, bundle.evidence.source.digest),
        "profile": (plan.profile_digest, bundle.profile.digest),
        "profile name": (plan.profile_name, bundle.profile.name),
        "device file": (plan.device_digest, bundle.device.digest),
        "device name": (plan.device_name, bundle.device.name),
        "dataset name": (plan.dataset_name, bundle.evidence.dataset.name),
    }
    for name, (planned, found) in pairs.items():
        if planned != found:
            return f"{name} is not the one that was planned"
    return _as_written(run, bundle)


def _as_written(run: Run, bundle: Bundle) -> str | None:
    """Profile and device file, read again from the bytes that were kept; the manifest names the rows' file."""
    with tempfile.TemporaryDirectory() as folder:
        profile, device = Path(folder) / "profile.toml", Path(folder) / "device.toml"
        profile.write_bytes(run.objects.get(run.record.profile_digest))
        device.write_bytes(run.objects.get(run.record.device_digest))
        if replace(load_profile(str(profile)), path="") != replace(bundle.profile, path=""):
            return "the profile's file says something else than the record of it"
        text = device.read_bytes().decode(errors="replace")
        is_file = bundle.device.path and not is_link(text)
        written = load_device(device) if is_file else device_at(text)
        if _anywhere(written) != _anywhere(bundle.device):
            return "the device file says something else than the record of it"
    manifest = run.objects.get(run.record.dataset_digest)
    if bundle.evidence.dataset.digest.removeprefix("sha256:").encode() not in manifest:
        return "the dataset's manifest does not name the file that the rows are from"
    return None


def _anywhere(device: DeviceSpec) -> DeviceSpec:
    """A device file's content, whatever folder it and its key are in."""
    return replace(device, path="", key=Path(device.key).name)


def _same_report(folder: Path, stated: dict[str, Any]) -> str | None:
    if list(stated["files"]) != [REPORT]:
        return f"the certificate does not name {REPORT}, and that alone"
    if digest_bytes(read_regular(folder / REPORT, MAX_FILE_BYTES)) != stated["files"][REPORT]:
        return f"{REPORT} has changed since it was certified"
    return None


def _judged_again(run: Run, data: bytes, stated: dict[str, Any]) -> str | None:
    bundle, judgement = judge_run(run)
    if certificate_bytes(run, bundle, judgement, stated["files"]) == data:
        return None
    return "it says something else"
