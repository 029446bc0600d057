"""The main job end to end on the smartwatch classifier: a real agent process, a real runtime, real rows."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from kit.certificate import PREDICATE_TYPE, STATEMENT_TYPE
from kit.digest import digest_file, is_digest
from kit.pipeline.finish import judge_run
from kit.pipeline.verify import verify
from kit.store import Run
from tests.integration.conftest import ROOT, Edgeproof


def folder_of(finished: Path) -> Path:
    (path,) = (finished / "runs").iterdir()
    return path


def all_digests(node: object) -> set[str]:
    if isinstance(node, dict):
        return set().union(*map(all_digests, node.values())) if node else set()
    if isinstance(node, list):
        return set().union(*map(all_digests, node)) if node else set()
    return {node} if isinstance(node, str) and is_digest(node) else set()


def test_the_exit_code_is_the_verdict(finished: Path, summary: dict[str, Any]) -> None:
    assert {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}[summary["verdict"]] == int((finished / "exit-code").read_text())


def test_every_requirement_is_judged_for_every_variant(summary: dict[str, Any]) -> None:
    for variant in summary["variants"]:
        named = {item["id"] for item in variant["requirements"]}
        assert named == {"latency", "memory", "size", "accuracy", "sides", "fairness", "processor"}
        subjects = {item["subject"] for item in variant["requirements"] if item["id"] == "sides"}
        assert len(subjects) == 2


def test_each_figure_says_how_it_was_obtained_and_with_what_confidence(summary: dict[str, Any]) -> None:
    for item in summary["requirements"]:
        assert item["obtained"] in ("measured", "emulated", "estimated", "computed", "absent")
        assert 0.5 < item["confidence"] <= 1
        assert item["method"]
        assert item["reason"]


def test_the_certificate_names_every_digest_from_source_model_to_report(finished: Path, watch: Path) -> None:
    run = folder_of(finished)
    certificate = json.loads((run / "certificate.json").read_text())
    assert certificate["_type"] == STATEMENT_TYPE
    assert certificate["predicateType"] == PREDICATE_TYPE
    predicate = certificate["predicate"]
    lineage = predicate["lineage"]
    assert lineage["sourceModel"]["digest"] == digest_file(watch / "watch-mlp.joblib")
    assert lineage["dataset"]["manifestDigest"] == digest_file(watch / "watch.toml")
    assert lineage["dataset"]["fileDigest"] == digest_file(watch / "held-out.npz")
    assert lineage["profile"]["digest"] == digest_file(finished / "quick.toml")
    assert lineage["variant"]["parentDigest"] == lineage["referenceModel"]["digest"]
    assert predicate["files"]["report.html"] == digest_file(run / "report.html")
    objects = Run.load(run).objects
    subject = "sha256:" + certificate["subject"][0]["digest"]["sha256"]
    assert subject == lineage["variant"]["digest"]
    for digest in (lineage["referenceModel"]["digest"], subject, *predicate["records"].values()):
        assert objects.get(digest)
    for name in ("deviceFile", "agent"):
        assert is_digest(lineage[name]["digest"])


def test_the_certificate_says_emulated_where_it_must(finished: Path, summary: dict[str, Any]) -> None:
    predicate = json.loads((folder_of(finished) / "certificate.json").read_text())["predicate"]
    assert predicate["certifiesHardware"] is False
    assert {"device", "meter"} <= set(predicate["emulated"])
    assert "EMULATED" in predicate["statement"]
    assert "certifies no hardware" in predicate["statement"]
    assert {"device", "meter"} <= set(summary["emulated"])


def test_nothing_in_the_certificate_or_report_says_where_files_lie_on_this_machine(finished: Path, watch: Path) -> None:
    for name in ("certificate.json", "report.html"):
        text = (folder_of(finished) / name).read_text()
        assert str(watch) not in text
        assert str(finished) not in text


def test_verdicts_judged_again_from_the_records_equal_the_printed_ones(finished: Path, summary: dict[str, Any]) -> None:
    _, judgement = judge_run(Run.load(folder_of(finished)))
    assert judgement.verdict.value == summary["verdict"]
    assert judgement.chosen == summary["chosen"]
    again = {
        (v.variant, f.requirement, f.subject): (f.verdict.value, f.estimate, f.lower, f.upper)
        for v in judgement.variants
        for f in v.findings
    }
    printed = {
        (v["name"], r["id"], r["subject"]): (r["verdict"], r["estimate"], *r["interval"])
        for v in summary["variants"]
        for r in v["requirements"]
    }
    assert again == printed


def test_verify_holds_for_an_untouched_run(finished: Path, edgeproof: Edgeproof) -> None:
    done = edgeproof("verify", folder_of(finished), cwd=finished)
    assert done.returncode == 0, done.stdout
    assert "✕" not in done.stdout


@pytest.mark.parametrize("target", ["report.html", "verdict", "figure", "object", "journal"])
def test_verify_finds_what_was_tampered_with(finished: Path, tmp_path: Path, target: str) -> None:
    run = Path(shutil.copytree(folder_of(finished), tmp_path / "run"))
    certificate = run / "certificate.json"
    if target == "report.html":
        (run / target).write_text((run / target).read_text().replace("INCONCLUSIVE", "PASS") + " ")
    elif target == "verdict":
        text = certificate.read_text()
        certificate.write_text(text.replace('"direction": "at_most"', '"direction": "at_least"', 1))
    elif target == "figure":
        stated = json.loads(certificate.read_text())
        stated["predicate"]["variants"][0]["findings"][0]["limit"] = "0.5"
        certificate.write_text(json.dumps(stated))
    elif target == "object":
        loaded = Run.load(run)
        path = loaded.objects.path(loaded.steps["latency/fp32"])
        path.write_bytes(path.read_bytes().replace(b"single", b"double"))
    else:
        lines = (run / "journal.jsonl").read_text().splitlines()
        (run / "journal.jsonl").write_text("\n".join(line for line in lines if "memory/fp32" not in line) + "\n")
    assert not verify(run).holds


def test_report_shows_a_finished_run_again_and_writes_html(
    finished: Path, tmp_path: Path, edgeproof: Edgeproof
) -> None:
    run = folder_of(finished)
    html = tmp_path / "again.html"
    done = edgeproof("report", run.name, "--runs", run.parent, "--html", html, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert html.read_text() == (run / "report.html").read_text()
    assert len(done.stdout.splitlines()) < 60
    assert max(map(len, done.stdout.splitlines()[:-2])) <= 80


def test_a_resumed_finished_run_measures_nothing_again(finished: Path, tmp_path: Path, edgeproof: Edgeproof) -> None:
    runs = Path(shutil.copytree(finished / "runs", tmp_path / "runs"))
    (run,) = runs.iterdir()
    before = (run / "journal.jsonl").read_text().splitlines()
    done = edgeproof("certify", "--resume", run.name, "--trust-pickle", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["verdict"] == json.loads((finished / "summary.json").read_text())["verdict"]
    after = (run / "journal.jsonl").read_text().splitlines()
    assert [line for line in after if "judgement" not in line] == [line for line in before if "judgement" not in line]


def test_the_run_holds_every_raw_sample(finished: Path) -> None:
    bundle, _ = judge_run(Run.load(folder_of(finished)))
    for variant in bundle.evidence.variants:
        assert variant.latency is not None
        assert len(variant.latency.samples_ns) >= 800
        assert variant.latency.samples_ns.min() > 0
        assert variant.predictions is not None
        assert len(variant.predictions.decisions) == bundle.evidence.dataset.rows
        assert variant.memory is not None
        assert variant.memory.peak_bytes.min() > 0
        assert variant.energy is not None
        assert variant.energy.obtained == "emulated"


def test_a_device_without_a_meter_can_at_most_be_inconclusive_on_battery(
    few: Path, tmp_path: Path, quick_profile: Path, edgeproof: Edgeproof
) -> None:
    battery = '\n[[require]]\nid = "battery"\nmetric = "battery.share"\nat_most = "99 %"\n'
    quick_profile.write_text(quick_profile.read_text() + battery)
    done = edgeproof(
        "certify", ROOT / "examples/watch/watch-cnn.onnx", "--data", few / "watch.toml", "--json",
        "--profile", quick_profile, "--device", "local", "--variant", "fp32", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 3, done.stdout + done.stderr
    (battery_finding,) = [r for r in json.loads(done.stdout)["requirements"] if r["id"] == "battery"]
    assert battery_finding["verdict"] == "INCONCLUSIVE"
    assert battery_finding["obtained"] == "estimated"
    assert battery_finding["estimate"] is not None


def test_a_model_of_someone_else_takes_the_same_way(faces: Path, tmp_path: Path, edgeproof: Edgeproof) -> None:
    done = edgeproof(
        "certify", faces / "rnet.onnx", "--data", faces / "faces.toml", "--profile", "face-detector", "--json",
        "--variant", "fp32", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode in (0, 3), done.stdout + done.stderr
    findings = {r["id"]: r for r in json.loads(done.stdout)["requirements"]}
    assert findings["accuracy"]["estimate"] > 0.95
