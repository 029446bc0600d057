"""Verify against a forger who can rewrite the whole run folder and make a certificate to match."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kit.digest import digest_file
from kit.errors import EdgeproofError
from kit.pipeline.finish import REPORT, certificate_bytes, judge_run
from kit.pipeline.verify import verify
from kit.records import EnergyRecord, LatencyRecord, ModelRecord, PredictionRecord, RunRecord
from kit.spec.types import DeviceSpec, Profile
from kit.store import Run
from kit.store.codec import encode
from tests.integration.conftest import Edgeproof


@pytest.fixture
def forged(finished: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, to be forged."""
    (original,) = (finished / "runs").iterdir()
    return Path(shutil.copytree(original, tmp_path / original.name))


def certify_again(folder: Path) -> None:
    """What a forger does last: a certificate that follows from the forged records."""
    run = Run.load(folder)
    bundle, judgement = judge_run(run)
    (folder / "certificate.json").write_bytes(
        certificate_bytes(run, bundle, judgement, {REPORT: digest_file(folder / REPORT)})
    )


def problems(folder: Path) -> list[str]:
    return [problem for problem in verify(folder).checks.values() if problem is not None]


def test_the_untouched_run_and_an_honest_second_certificate_hold(forged: Path) -> None:
    assert verify(forged).holds
    certify_again(forged)
    assert verify(forged).holds


def test_a_forged_report_that_the_certificate_no_longer_names(forged: Path) -> None:
    stated = json.loads((forged / "certificate.json").read_text())
    stated["predicate"]["files"] = {}
    (forged / "certificate.json").write_text(json.dumps(stated))
    (forged / REPORT).write_text("PASS: certified medical grade")
    assert any("does not name" in problem for problem in problems(forged))


@pytest.mark.parametrize(
    "change",
    [{"profile_name": "medical-class-III"}, {"profile_digest": "sha256:" + "a" * 64}, {"dataset_name": "other"},
     {"device_name": "other"}, {"source_digest": "sha256:" + "b" * 64}],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_a_forged_plan(forged: Path, change: dict[str, str]) -> None:
    run = Run.load(forged)
    plan: RunRecord = replace(run.record, **change)
    (forged / "run.json").write_bytes(encode(plan, run.objects.put))
    certify_again(forged)
    assert not verify(forged).holds


def generous(profile: Profile) -> Profile:
    return replace(profile, requirements=tuple(replace(r, limit=r.limit * 1000) for r in profile.requirements))


def test_limits_that_the_profile_s_file_does_not_say(forged: Path) -> None:
    run = Run.load(forged)
    run.put("plan/profile", generous(run.get("plan/profile", Profile)))
    run.release()
    certify_again(forged)
    assert "the profile's file says something else than the record of it" in problems(forged)


def test_a_battery_that_the_device_file_does_not_say(forged: Path) -> None:
    run = Run.load(forged)
    device = run.get("plan/device", DeviceSpec)
    assert device.battery is not None
    run.put("plan/device", replace(device, battery=replace(device.battery, capacity_j=1e9)))
    run.release()
    certify_again(forged)
    assert "the device file says something else than the record of it" in problems(forged)


def perfect(record: PredictionRecord) -> PredictionRecord:
    return replace(record, decisions=np.zeros_like(record.decisions))


def quick(record: LatencyRecord) -> LatencyRecord:
    return replace(record, samples_ns=-np.abs(record.samples_ns))


def measured(record: EnergyRecord) -> EnergyRecord:
    return replace(record, meter=replace(record.meter, obtained="estimated"))


FORGERIES: list[tuple[str, type, Callable]] = [
    ("predictions/int8-per-channel-reduced", PredictionRecord, perfect),
    ("latency/int8-per-channel-reduced", LatencyRecord, quick),
    ("latency/int8-per-channel-reduced", LatencyRecord, lambda r: replace(r, warmup_count=-5)),
    ("latency/int8-per-channel-reduced", LatencyRecord, lambda r: replace(r, variant_digest="sha256:" + "0" * 64)),
    ("energy/int8-per-channel-reduced", EnergyRecord, lambda r: replace(measured(r), obtained="measured")),
    ("model/reference", ModelRecord, lambda r: replace(r, size_bytes=1)),
]


@pytest.mark.parametrize(("step", "kind", "forge"), FORGERIES)
def test_records_that_contradict_themselves(forged: Path, step: str, kind: type, forge: Callable) -> None:
    run = Run.load(forged)
    run.put(step, forge(run.get(step, kind)))
    run.release()
    try:
        certify_again(forged)
    except EdgeproofError:
        stated = json.loads((forged / "certificate.json").read_text())
        stated["predicate"]["records"] = Run.load(forged).steps
        (forged / "certificate.json").write_text(json.dumps(stated))
    assert not verify(forged).holds


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    with path.open("wb") as stream:
        stream.truncate(10 << 30)


def deep(path: Path) -> None:
    path.write_bytes(b"[" * 200_000)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", ["certificate.json", REPORT, "run.json", "journal.jsonl"])
@pytest.mark.parametrize("spoil", [fifo, endless, huge, deep, folder, Path.unlink])
def test_a_hostile_folder_is_refused_at_once(
    forged: Path, tmp_path: Path, edgeproof: Edgeproof, name: str, spoil: Callable[[Path], None]
) -> None:
    spoil(forged / name)
    done = edgeproof("verify", forged, cwd=tmp_path)
    assert done.returncode in (1, 2), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "bug of ours" not in done.stderr


def test_a_header_that_promises_terabytes_allocates_nothing(forged: Path) -> None:
    run = Run.load(forged)
    record = run.get("latency/fp32", LatencyRecord)
    data = encode(record, run.objects.put)
    array = json.loads(data)["samples_ns"]
    raw = run.objects.get(array["$array"]).replace(
        f"({len(record.samples_ns)},)".encode(), b"(999999999999,)"[: len(f"({len(record.samples_ns)},)")]
    )
    array_digest = run.objects.put(raw)
    record_digest = run.objects.put(data.replace(array["$array"].encode(), array_digest.encode()))
    with (forged / "journal.jsonl").open("a") as journal:
        journal.write(json.dumps({"step": "latency/fp32", "record": record_digest}) + "\n")
    assert not verify(forged).holds


def test_what_a_stranger_wrote_cannot_steer_the_terminal(forged: Path, tmp_path: Path, edgeproof: Edgeproof) -> None:
    stated = json.loads((forged / "certificate.json").read_text())
    stated["predicate"]["records"]["\x1b[2Jevil"] = "x"
    (forged / "certificate.json").write_text(json.dumps(stated))
    done = edgeproof("verify", forged, cwd=tmp_path)
    assert done.returncode == 1
    assert "\x1b" not in done.stdout


def test_a_pickle_s_trust_is_not_inherited_by_a_resume(forged: Path, tmp_path: Path, edgeproof: Edgeproof) -> None:
    done = edgeproof("certify", "--resume", forged, cwd=tmp_path)
    assert done.returncode == 2
    assert "--trust-pickle" in done.stderr


@pytest.mark.parametrize("asked", ["", "certificate.json"])
def test_an_unfinished_run_is_told_to_be_resumed(
    forged: Path, tmp_path: Path, edgeproof: Edgeproof, asked: str
) -> None:
    (forged / "certificate.json").unlink()
    done = edgeproof("verify", forged / asked, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "it is not finished" in done.stderr
    assert f"edgeproof certify --resume {forged.name} --runs {forged.parent} --trust-pickle" in done.stderr
