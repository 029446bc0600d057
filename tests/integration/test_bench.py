"""`edgeproof bench`: models in turn on a real agent, every sample kept, and nothing lost by a kill."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
from onnx import TensorProto, helper

from kit.digest import digest_file
from kit.pipeline.interleave import turns
from kit.records import LatencyRecord, RunRecord
from kit.store import Run
from tests.digits_case import Case, write_case
from tests.integration.conftest import ROOT, Edgeproof
from tests.integration.in_process import edgeproof
from tests.integration.test_kill import agents_of, wait_for

__all__ = ["edgeproof"]  # a fixture

QUICK = ("--window-time", "0.05s", "--min-count", "60", "--windows", "3")
FEW = ("--memory-sessions", "3")
ONLY_LATENCY = (*QUICK, "--no-memory", "--no-energy", "--no-audit")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return write_case(tmp_path_factory.mktemp("case"))


def benched(edgeproof: Edgeproof, *words: str | Path, cwd: Path, code: int = 0) -> dict[str, Any]:
    done = edgeproof("bench", *words, "--json", cwd=cwd)
    assert done.returncode == code, done.stdout + done.stderr
    loaded: dict[str, Any] = json.loads(done.stdout)
    return loaded


def refused(edgeproof: Edgeproof, *words: str | Path, cwd: Path, code: int = 2) -> str:
    """What is said on stderr; nothing was written."""
    before = sorted(str(path) for path in cwd.rglob("*"))
    done = edgeproof("bench", *words, cwd=cwd)
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error["), done.stderr
    assert sorted(str(path) for path in cwd.rglob("*")) == before
    return " ".join(done.stderr.split())


def run_of(folder: Path) -> Run:
    (path,) = folder.glob("runs/*/run.json")
    return Run.load(path.parent)


def test_all_of_a_model_with_every_sample(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    words = (
        case.model,
        "--data",
        case.data,
        "--device",
        "watch-emulated",
        "--cold",
        "--operators",
        "--no-energy",
        *FEW,
        *QUICK,
    )
    found = benched(edgeproof, *words, cwd=tmp_path)
    assert (found["schema"], found["threads"], found["work"]["windows"]) == ("edgeproof/bench/1", 1, 3)
    assert found["emulated"] == ["device", "meter", "battery"]
    assert found["rows"]["source"].startswith("digits, ")
    (model,) = found["models"]
    assert model["model"]["digest"] == digest_file(case.model)
    assert model["absent"] == {"energy": "not asked for"}
    assert model["audit"]["state"] in ("passed", "undecided")
    assert model["cold_start"]["ready_s"]
    assert model["operators"]["operators"]
    assert model["memory"]["model_bytes"] == case.model.stat().st_size
    run = run_of(tmp_path)
    kept = [run.get(f"latency/1/{number}", LatencyRecord) for number in (1, 2, 3)]
    pooled = np.concatenate([each.samples_ns[each.warmup_count :] for each in kept])
    assert model["latency"]["samples"] == len(pooled)
    for each in model["latency"]["percentiles"]:
        wanted = np.quantile(pooled * 1e-9, each["probability"], method="inverted_cdf")
        assert each["estimate_s"] == pytest.approx(wanted)
    assert model["latency"]["load_s"] == [each.load_ns * 1e-9 for each in kept]
    for each in kept:
        assert len(each.samples_ns) >= 60
        assert each.starts_ns is not None
        assert each.starts_ns[-1] + each.samples_ns[-1] - each.starts_ns[0] > 0.045e9
        assert each.before.utc <= each.after.utc


def test_models_take_turns(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    found = benched(edgeproof, case.model, case.model, *ONLY_LATENCY, "--seed", "7", cwd=tmp_path)
    assert [each["label"] for each in found["models"]] == ["net.onnx", "net.onnx (2)"]
    run = run_of(tmp_path)
    starts = {}
    for model in (1, 2):
        for window in (1, 2, 3):
            record = run.get(f"latency/{model}/{window}", LatencyRecord)
            assert record.starts_ns is not None
            starts[model - 1, window - 1] = int(record.starts_ns[0])
    wanted = [(model, window) for window, turn in enumerate(turns(2, 3, 7)) for model in turn]
    assert sorted(starts, key=starts.__getitem__) == wanted
    ratio = found["models"][1]["ratio_to_first"]
    assert ratio["pairs"] == 3
    assert ratio["lower"] < ratio["estimate"] < ratio["upper"]
    assert found["rows"]["source"] == "random rows made from the model's input, seed 7"


def test_several_models_have_as_many_windows_of_each_order(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    words = ("--window-time", "10ms", "--min-count", "20", "--no-memory", "--no-energy", "--no-audit")
    assert benched(edgeproof, case.model, case.model, *words, cwd=tmp_path)["work"]["windows"] == 10
    (tmp_path / "one").mkdir()
    assert benched(edgeproof, case.model, *words, cwd=tmp_path / "one")["work"]["windows"] == 5


@pytest.mark.parametrize(
    ("words", "scenario"),
    [
        (("--scenario", "periodic", "--period", "5ms"), "periodic"),
        (("--scenario", "burst", "--period", "10ms", "--burst", "4"), "burst"),
        (("--scenario", "offline", "--batch", "16"), "offline"),
        (("--scenario", "multi-stream", "--streams", "2"), "multi-stream"),
    ],
    ids=["periodic", "burst", "offline", "multi-stream"],
)
def test_every_scenario(
    case: Case, tmp_path: Path, edgeproof: Edgeproof, words: tuple[str, ...], scenario: str
) -> None:
    options = ("--window-time", "0.1s", "--windows", "2", "--no-memory", "--no-energy", "--no-audit")
    found = benched(edgeproof, case.model, *words, *options, cwd=tmp_path)
    assert found["work"]["scenario"] == scenario
    latency = found["models"][0]["latency"]
    rate = latency["throughput_per_s"]["estimate"]
    if scenario == "periodic":
        assert found["work"]["min_count"] == 20
        assert rate < 260
    if scenario == "burst":
        assert rate < 600
    assert run_of(tmp_path).get("latency/1/1", LatencyRecord).workload.scenario == scenario


def test_a_model_whose_name_is_not_utf_8_is_measured(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    odd = tmp_path / os.fsdecode(b"\xff\xfe.onnx")
    odd.write_bytes(case.model.read_bytes())
    few = ("--windows", "1", "--window-time", "50ms", "--no-audit", "--no-memory", "--no-energy")
    found = benched(edgeproof, odd.name, *few, cwd=tmp_path)
    assert found["models"][0]["label"] == "\\udcff\\udcfe.onnx"
    told = edgeproof("report", run_of(tmp_path).path.name, cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    assert "\\udcff\\udcfe.onnx" in told.stdout


def test_the_text_is_for_people_and_report_prints_it_again(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    done = edgeproof("bench", case.model, *QUICK, *FEW, "--device", "watch-emulated", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert all(len(line) <= 80 for line in done.stdout.splitlines()), done.stdout
    for text in ("EMULATED: device, meter, battery", "p99.9", "above idle", "steady", "conditions", "run runs/"):
        assert text in " ".join(done.stdout.split()), text
    run = run_of(tmp_path)
    again = edgeproof("report", run.path.name, cwd=tmp_path)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    as_json = edgeproof("report", run.path.name, "--json", cwd=tmp_path)
    (model,) = json.loads(as_json.stdout)["models"]
    energy = model["energy"]
    assert (energy["obtained"], energy["windows"], len(energy["window_energy_j"])) == ("emulated", 10, 10)
    assert 0 < energy["per_inference_j"]["above_idle"]["estimate"] < energy["per_inference_j"]["gross"]["estimate"]
    for command in (("verify", run.path.name), ("certify", "--resume", run.path.name)):
        other = edgeproof(*command, cwd=tmp_path)
        assert other.returncode == 2
        assert "this is a run of edgeproof bench: it measures, and gives no verdict" in " ".join(other.stderr.split())
    run.path.rename(tmp_path / "other")
    for words in (("other/",), ("other/certificate.json",), ("other", "--runs", ".")):
        assert "edgeproof report other" in edgeproof("verify", *words, cwd=tmp_path).stderr
    html = edgeproof("report", "other", "--html", "x.html", cwd=tmp_path)
    assert html.returncode == 2
    assert "no HTML report" in html.stderr
    assert not (tmp_path / "x.html").exists()


def test_a_budget_leaves_the_rest_to_resume(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    words = (case.model, "--window-time", "0.5s", "--windows", "40", "--no-memory", "--no-energy", "--no-audit")
    found = benched(edgeproof, *words, "--budget", "2500ms", cwd=tmp_path)
    done = len(found["models"][0]["latency"]["windows"])
    assert 1 <= done < 5
    assert found["work"]["missing_windows"] == 40 - done
    assert any("--resume measures the rest" in text for text in found["warnings"])
    run = run_of(tmp_path)
    before = dict(run.steps)
    more = benched(edgeproof, "--resume", run.path.name, "--budget", "2500ms", cwd=tmp_path)
    assert len(more["models"][0]["latency"]["windows"]) > done
    after = run_of(tmp_path).steps
    assert {step: after[step] for step in before} == before


def test_a_budget_for_nothing_measures_nothing(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    done = edgeproof("bench", case.model, *ONLY_LATENCY, "--budget", "1ms", cwd=tmp_path)
    assert done.returncode == 5
    assert "no window was measured" in done.stderr


def test_a_whole_run_resumed_measures_nothing_again(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    first = benched(edgeproof, case.model, *ONLY_LATENCY, cwd=tmp_path)
    run = run_of(tmp_path)
    journal = (run.path / "journal.jsonl").read_bytes()
    assert benched(edgeproof, "--resume", run.path.name, cwd=tmp_path) == first
    assert (run.path / "journal.jsonl").read_bytes() == journal


def test_a_changed_model_is_not_gone_on_with(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    model = tmp_path / "net.onnx"
    model.write_bytes(case.model.read_bytes())
    benched(edgeproof, model, *ONLY_LATENCY, cwd=tmp_path)
    other = onnx.load(model)
    other.producer_name = "another"
    onnx.save(other, model)
    assert "a model has changed since this run began" in refused(
        edgeproof, "--resume", run_of(tmp_path).path.name, cwd=tmp_path
    )


def test_holding_conditions_keeps_what_it_rejects(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    words = (case.model, *QUICK, "--no-memory", "--no-energy", "--no-audit", "--stable", "--patience", "1s")
    done = edgeproof("bench", *words, "--json", cwd=tmp_path)
    found = json.loads(done.stdout)
    (model,) = found["models"]
    judged = [*(each["stability"] for each in model["latency"]["windows"]), model["latency"]["stability"]]
    unstable = [each for each in judged if each["state"] == "unstable"]
    assert done.returncode == (5 if unstable else 0)
    assert found["valid"] is not bool(unstable)
    run = run_of(tmp_path)
    rejected = [step for step in run.steps if step.startswith("rejected/")]
    assert len(rejected) == len(model["latency"]["rejected"])
    assert len(found["waits"]) == 3 + len(rejected)
    for step in rejected:
        assert len(run.get(step, LatencyRecord).samples_ns) >= 60


def _two_inputs(path: Path) -> Path:
    node = helper.make_node("Add", ["a", "b"], ["c"])
    names = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "abc"]
    onnx.save(helper.make_model(helper.make_graph([node], "two", names[:2], names[2:])), path)
    return path


def _of_strings(path: Path) -> Path:
    values = [helper.make_tensor_value_info(name, TensorProto.STRING, ["n", 4]) for name in "ab"]
    node = helper.make_node("Identity", ["a"], ["b"])
    onnx.save(helper.make_model(helper.make_graph([node], "words", values[:1], values[1:])), path)
    return path


def test_what_cannot_be_benched_is_refused_before_anything_is_written(
    case: Case, tmp_path: Path, edgeproof: Edgeproof
) -> None:
    model, two, texts = case.model, _two_inputs(tmp_path / "two.onnx"), _of_strings(tmp_path / "words.onnx")
    (tmp_path / "not.onnx").write_text("<html>")
    (tmp_path / "bare.toml").write_text('[device]\nname = "bare"\nemulated = []\n[link]\nurl = "subprocess:"\n')
    for words, said in (
        ((), "Missing MODEL"),
        ((tmp_path / "none.onnx",), "no such file"),
        ((tmp_path / "not.onnx",), "not an ONNX model"),
        ((two,), "2 inputs (a, b)"),
        ((texts,), "input 'a' takes values of type object, which no device is sent"),
        ((model, model, "--windows", "2"), "need 3 windows or more"),
        ((model, "--scenario", "periodic"), "needs --period"),
        ((model, "--batch", "4"), "takes no --batch"),
        ((model, "--scenario", "burst", "--period", "1s"), "needs --burst"),
        ((model, "--scenario", "periodic", "--period", "5"), "needs its unit"),
        ((model, "--patience", "9s"), "--patience is for --stable"),
        ((model, "--no-memory", "--memory-sessions", "9"), "of no use with --no-memory"),
        ((model, "--no-energy", "--energy-window-time", "1s"), "of no use with --no-energy"),
        ((model, "--energy-window-time", "2h"), "from 50ms to 1h"),
        ((model, "--energy-window-time", "49ms"), "from 50ms to 1h"),
        ((model, "--audit-time", "5"), "needs its unit"),
        ((model, "--window-time", "soon"), "--window-time is a time"),
        ((model, "--device", "bare.toml", "--energy"), "has no meter"),
        ((model, "--device", "mlperf-tiny-board"), "takes no other"),
        ((model, "--device", "nobody"), 'no device named "nobody"'),
        ((model, "--data", tmp_path / "rows.npz"), "dataset manifest"),
        ((*[model] * 17,), "from 1 to 16 models"),
        ((model, "--resume", "x"), "leave MODEL out"),
        (("--resume", "x", "--windows", "3"), "leave --windows out"),
        (("--resume", "20200101"), "no run"),
    ):
        assert said in refused(edgeproof, *words, cwd=tmp_path), said


def test_rows_that_do_not_fit_the_model_are_refused(
    case: Case, watch: Path, tmp_path: Path, edgeproof: Edgeproof
) -> None:
    assert "does not take rows of shape" in refused(edgeproof, case.model, "--data", watch / "watch.toml", cwd=tmp_path)


def heed() -> None:
    """A test run in the background, or under nohup, ignores what is to be heeded here."""
    for each in (signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_DFL)


def start(folder: Path, model: Path) -> subprocess.Popen[str]:
    words = ["bench", model, "--window-time", "0.5s", "--windows", "8", "--no-memory", "--no-energy", "--no-audit"]
    return subprocess.Popen(
        [sys.executable, "-m", "kit", *map(str, words)],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=heed,
        env=os.environ | {"NO_COLOR": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def windows(folder: Path) -> list[str]:
    text = "".join(path.read_text() for path in folder.glob("runs/*/journal.jsonl"))
    return [json.loads(line)["step"] for line in text.splitlines() if '"latency/' in line]


@pytest.mark.parametrize("kind", ["interrupt", "kill", "agent"])
def test_what_was_measured_outlives_any_end(case: Case, tmp_path: Path, edgeproof: Edgeproof, kind: str) -> None:
    process = start(tmp_path, case.model)
    wait_for(lambda: len(windows(tmp_path)) >= 2 or process.poll() is not None)
    agents = agents_of(process)
    assert agents, process.communicate()
    if kind == "agent":
        for each in agents:
            each.kill()
    else:
        os.killpg(process.pid, signal.SIGINT if kind == "interrupt" else signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert out == ""
    assert "Traceback" not in err
    assert process.returncode == {"interrupt": 130, "kill": -signal.SIGKILL, "agent": 4}[kind]
    if kind != "kill":
        assert "edgeproof bench --resume " in err
    if kind == "interrupt":
        assert "fix    go on with it: edgeproof bench --resume " in " ".join(err.splitlines())
    psutil.wait_procs(agents, timeout=10)
    assert not any(each.is_running() for each in agents)
    kept, run = windows(tmp_path), run_of(tmp_path)
    before = dict(run.steps)
    found = benched(edgeproof, "--resume", run.path.name, cwd=tmp_path)
    assert len(found["models"][0]["latency"]["windows"]) == 8
    assert windows(tmp_path)[: len(kept)] == kept
    assert len(windows(tmp_path)) == 8
    after = run_of(tmp_path).steps
    assert {step: after[step] for step in before} == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_to_end_is_heeded_as_ctrl_c_is(case: Case, tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, case.model)
    wait_for(lambda: agents_of(process) or process.poll() is not None)
    agents = agents_of(process)
    wait_for(lambda: run_of(tmp_path).path.exists())
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.startswith(f"error[interrupted]: interrupted by {number.name}\n")
    assert "edgeproof bench --resume " in err
    psutil.wait_procs(agents, timeout=10)
    assert not any(each.is_running() for each in agents)


def test_a_run_in_use_is_not_gone_on_with(case: Case, tmp_path: Path, edgeproof: Edgeproof) -> None:
    process = start(tmp_path, case.model)
    try:
        wait_for(lambda: len(windows(tmp_path)) >= 1 or process.poll() is not None)
        done = edgeproof("bench", "--resume", run_of(tmp_path).path.name, cwd=tmp_path)
        assert done.returncode == 2
        assert "another process is working on this run" in done.stderr
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_a_run_of_another_command_is_refused(tmp_path: Path, edgeproof: Edgeproof) -> None:
    record = RunRecord("20260101-x", "", "0", ("edgeproof", "certify", "x"), 0, "", "", "", "", "", "", "", ())
    run = Run.plan(tmp_path / "runs", record)
    run.put("plan/order", "x")
    run.release()
    said = refused(edgeproof, "--resume", "20260101", cwd=tmp_path)
    assert "this is a run of edgeproof certify, not of edgeproof bench" in said
