"""`edgeproof battery` as its users meet it: typed energies, runs, profiles, budgets, and what is missing."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kit.pipeline.bench_folder import PLAN
from kit.pipeline.bench_plan import BenchOrder
from kit.records import EnergyRecord, MeterRecord, RunRecord
from kit.spec import load_device, load_profile
from kit.store import Run
from tests.cli.words import device_file, edgeproof, is_for_people

HOME = Path(__file__).parents[1] / "battery" / "data"
COIN = ("--capacity", "220 mAh", "--voltage", "3 V", "--other-load", "30 uW", "--chemistry", "lithium-primary")
MODEL = ("--energy-per-inference", "50 uJ to 70 uJ", "--rate", "6 per minute")
STATED = (
    "--tolerance", "3 %", "--health", "98 %", "--self-discharge", "0.05 % to 0.1 %", "--temperature", "20 °C",
)  # fmt: skip
PROFILE = """\
[profile]
name = "tag"
[duty]
rate = "6 per minute"
[[require]]
id = "share"
metric = "battery.share"
at_most = "25 %"
[[require]]
id = "life"
metric = "battery.life"
at_least = "{life}"
"""


def asked(home: Path, *words: object) -> dict[str, Any]:
    done = edgeproof("battery", *words, "--json", home=home)
    assert not done.stderr, done.stderr
    return json.loads(done.stdout) | {"exit_code": done.returncode}  # type: ignore[no-any-return]


def energy_record(joules: float, windows: int = 10, obtained: str = "measured") -> EnergyRecord:
    """Windows of 1 s at 2 mW idle, 100 inferences of `joules` each, off by up to half a percent."""
    each = joules * (1 + 0.005 * np.cos(np.arange(windows) * 2.4))
    return EnergyRecord(
        variant_digest="0" * 64,
        meter=MeterRecord("bench meter", obtained, "for a test", {}),  # type: ignore[arg-type]
        window_energy_j=0.002 + 100 * each,
        window_s=np.ones(windows),
        window_inferences=np.full(windows, 100),
        idle_power_w=0.002,
        trace_t_ns=np.arange(3),
        trace_power_w=np.ones(3),
        obtained=obtained,  # type: ignore[arg-type]
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    battery = (
        '[battery]\ncapacity = "220 mAh"\nvoltage = "3 V"\nother_load = "30 uW"\nchemistry = "lithium-primary"\n'
        'tolerance = "3 %"\nhealth = "98 %"\nself_discharge = "0.05 % to 0.1 %"\ntemperature = "20 °C"\n'
    )
    device_file(tmp_path, "tag", 'url = "subprocess:"', battery)
    (tmp_path / "tag.toml").write_text(PROFILE.format(life="1 years"))
    return tmp_path


@pytest.fixture
def run(home: Path) -> str:
    """A run that measured two models; as `edgeproof bench` and `certify` store them."""
    device = load_device(home / "config" / "edgeproof" / "devices" / "tag.toml")
    profile = load_profile(home / "tag.toml")
    record = RunRecord(
        "20260101-000000-abcdef", "2026-01-01T00:00:00Z", "0", (), 0, "", profile.name, profile.digest, "", "",
        device.name, device.digest, ("fp32", "int8"),
    )  # fmt: skip
    of = Run.plan(home / "runs", record)
    of.put("plan/device", device)
    of.put("plan/profile", profile)
    of.put("energy/fp32", energy_record(200e-6))
    of.put("energy/int8", energy_record(60e-6))
    of.put("energy/fp16", None)
    of.release()
    return record.run_id


def test_a_screen_that_says_all(home: Path) -> None:
    done = edgeproof("battery", *COIN, *MODEL, "--budget", "15 %", home=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert is_for_people(done.stdout)
    text = " ".join(done.stdout.split())
    for part in (
        "220 mAh at 3 V", "lithium-primary", "60 µJ [50 µJ, 70 µJ]", "6 per minute", "tier 1: average current",
        "life without it 2.", "life with it", "(estimated)", "the model costs 16", "idle dominates",
        "budget 15 % met up to", "ASSUMED (estimate) tolerance 5 %", "health", "self discharge 0 % to 0.2 %",
        "given on the command line",
    ):  # fmt: skip
        assert part in text, part


def test_the_object_has_the_figures_of_the_formula(home: Path) -> None:
    """All stated but self-discharge: 220 mAh at 98 % beside 30 uW and 6 uW, less what it loses by itself."""
    found = asked(home, *COIN, *STATED, *MODEL)
    lost_a = 220 * 3.6 * 0.98 * 0.00075 / (365.25 / 12 * 86400)
    expected = 220 * 3.6 * 0.98 / (36e-6 / 3 + lost_a)
    assert found["schema"] == "edgeproof/battery/1"
    assert found["life_s"]["likely"] == pytest.approx(expected)
    assert found["life_s"]["low"] < expected < found["life_s"]["high"]
    assert found["share"]["likely"] == pytest.approx(1 - expected / found["life_without_model_s"]["likely"])
    assert sum(part["likely"] for part in found["parts"].values()) == pytest.approx(1)
    assert (found["tier"], found["dominant"], found["verdict"], found["exit_code"]) == (1, "idle", None, 0)
    assert {each["source"] for each in found["inputs"]} == {"stated"}


def test_what_nobody_stated_is_an_estimate(home: Path) -> None:
    found = asked(home, *COIN, *MODEL)
    assert found["obtained"] == "estimated"
    assert {each["name"] for each in found["inputs"] if each["source"] == "assumed"} >= {"health", "tolerance"}


def test_a_device_and_options_before_it(home: Path) -> None:
    as_it_is = asked(home, "--device", "tag", *MODEL)
    assert as_it_is == asked(home, *COIN, *STATED, *MODEL) | {"device": "tag"}
    half = asked(home, "--device", "tag", "--capacity", "110 mAh", *MODEL)
    assert half["life_s"]["likely"] == pytest.approx(as_it_is["life_s"]["likely"] / 2, rel=0.02)


def test_a_profile_of_otiis_and_peaks_make_it_tier_3(home: Path) -> None:
    cell = HOME / "coin-cell.otii.json"
    common = ("--other-load", "30 uW", "--otii", cell, *STATED, "--rate", "6 per minute")
    small = asked(home, *common, "--energy-per-inference", "60 uJ", "--inference-time", "200 ms")
    assert (small["tier"], small["by_peak"]["at_worst"]) == (3, False)
    short = asked(home, *common, "--energy-per-inference", "60 uJ", "--inference-time", "700 us")
    assert short["by_peak"] == {"likely": True, "at_worst": True}
    assert short["life_s"]["likely"] < 0.99 * small["life_s"]["likely"]
    done = edgeproof("battery", *common, "--energy-per-inference", "60 uJ", "--inference-time", "700 us", home=home)
    assert "a peak takes the voltage below the cutoff" in " ".join(done.stdout.split())
    assert "made-up coin cell" in done.stdout


def test_the_rate_that_a_budget_allows_meets_it(home: Path) -> None:
    (budget,) = asked(home, "--device", "tag", *MODEL, "--budget", "20 %")["budgets"]
    at = f"{budget['rate_hz']['low'] * 3600} per hour"
    found = asked(home, "--device", "tag", "--energy-per-inference", "50 uJ to 70 uJ", "--rate", at)
    assert found["share"]["high"] == pytest.approx(0.2, rel=1e-3)
    (budget,) = asked(home, "--device", "tag", *MODEL, "--budget", "2 years")["budgets"]
    assert budget["life_s"] == pytest.approx(2 * 365.25 * 86400)
    assert budget["share"] is None


def test_a_budget_is_also_told_as_a_duty_cycle_where_an_inference_s_time_is_known(home: Path) -> None:
    words = ("--device", "tag", *MODEL, "--budget", "20 %")
    (budget,) = asked(home, *words, "--inference-time", "8 ms")["budgets"]
    for end in ("low", "likely", "high"):
        assert budget["duty_share"][end] == pytest.approx(budget["rate_hz"][end] * 0.008)
    text = " ".join(edgeproof("battery", *words, "--inference-time", "8 ms", home=home).stdout.split())
    assert re.search(
        r"met up to [^;]+\], which is 0\.[\d]+ % \[[^]]+\] of the time; 6 per minute \(0\.08 % of the time\)", text
    )
    (budget,) = asked(home, *words)["budgets"]
    assert budget["duty_share"] is None
    assert "of the time" not in edgeproof("battery", *words, home=home).stdout


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ("20 h", "met up to "),
        (
            "45 h",
            r"met up to [^;]+ \[0 per second, [^;]+; 1 per minute: surely not; without the model the life is 50 h",
        ),
        (
            "55 h",
            r"likely met at no rate, at best up to [^;]+; 1 per minute: [^;]+; without the model the life is 50 h",
        ),
        ("2.3 days", r"likely met at no rate, [^;]+; [^;]+; without the model the life is 2.08 days \[1.67 days, "),
        ("90 h", r"met at no rate; without the model the life is 50 h \[40 h, 60 h\]"),
        ("0.1 %", "met up to "),
    ],
)
def test_a_budget_that_the_battery_cannot_meet_alone_is_said(home: Path, budget: str, said: str) -> None:
    """1.5 Wh beside 30 mW is 50 h, give or take a fifth; a life is told in the unit of its budget."""
    words = ("--energy", "1.5 Wh", "--other-load", "30 mW", "--tolerance", "20 %", "--health", "100 %", "--temperature",
             "20 °C", "--self-discharge", "0 %", "--energy-per-inference", "1 J", "--rate", "1 per minute")  # fmt: skip
    text = " ".join(edgeproof("battery", *words, "--budget", budget, home=home).stdout.split())
    found = re.search(rf"budget {budget} ({said}.*) stated", text)
    assert found, text
    assert not re.search(r"\b0[ ,\]](?!per)", found[1])
    assert ("without the model" in found[1]) == (budget not in ("20 h", "0.1 %"))


def test_a_peak_that_stops_it_at_once_is_what_dominates(home: Path) -> None:
    words = (*COIN, "--resistance", "10 ohm", "--cutoff", "2 V", "--energy-per-inference", "7 J",
             "--inference-time", "1 us", "--rate", "6 per minute")  # fmt: skip
    text = " ".join(edgeproof("battery", *words, home=home).stdout.split())
    assert "left in the battery 100 %: the peak dominates" in text
    assert asked(home, *words)["dominant"] == "peak"


def test_a_life_is_judged_in_the_unit_of_its_limit(home: Path, run: str) -> None:
    (home / "tag.toml").write_text(PROFILE.format(life="24 h"))
    done = edgeproof("battery", "--run", run, "--variant", "int8", "--profile", "./tag.toml", home=home)
    text = " ".join(done.stdout.split())
    assert re.search(r"PASS: battery.life at least 24 h: [0-9,]+ h \[[0-9,]+ h, [0-9,]+ h\]", text)


def test_a_life_without_end_is_null(home: Path) -> None:
    words = ("--energy", "1 Wh", "--other-load", "0 W", "--self-discharge", "0 %", *MODEL)
    found = asked(home, *words)
    assert found["life_without_model_s"]["likely"] is None
    assert found["share"]["likely"] == 1.0
    assert "without end" in edgeproof("battery", *words, home=home).stdout


@pytest.mark.parametrize(
    ("variant", "life", "verdict", "code"),
    [("int8", "1 years", "PASS", 0), ("fp32", "1 years", "FAIL", 1), ("int8", "2.05 years", "INCONCLUSIVE", 3)],
)
def test_a_run_under_a_profile_has_a_verdict(
    home: Path, run: str, variant: str, life: str, verdict: str, code: int
) -> None:
    (home / "tag.toml").write_text(PROFILE.format(life=life))
    found = asked(home, "--run", run, "--variant", variant, "--profile", "./tag.toml")
    assert (found["verdict"], found["exit_code"], found["obtained"]) == (verdict, code, "measured")
    assert [each["metric"] for each in found["requirements"]] == ["battery.share", "battery.life"]
    assert [each["limit"] for each in found["requirements"]] == [0.25, pytest.approx(float(life[:-6]) * 31557600)]
    done = edgeproof("battery", "--run", run, "--variant", variant, "--profile", "./tag.toml", home=home)
    assert f"{verdict}: battery." in done.stdout
    assert done.returncode == code


def test_a_run_has_its_own_device_rate_and_budget_and_no_verdict_unasked(home: Path, run: str) -> None:
    found = asked(home, "--run", run[:9], "--variant", "int8")
    assert (found["device"], found["verdict"], found["exit_code"]) == ("tag", None, 0)
    assert found["rate_hz"] == pytest.approx(0.1)
    assert [each["text"] for each in found["budgets"]] == ["25 %", "1 years"]
    assert found["energy"]["inference_s"] == pytest.approx(0.01)
    assert found["energy"]["per_inference_j"]["likely"] == pytest.approx(60e-6, rel=1e-3)
    low, high = (found["energy"]["per_inference_j"][end] for end in ("low", "high"))
    assert low < 60e-6 < high


def test_a_model_that_cannot_keep_its_rate_is_told_at_the_rate_it_runs(home: Path, run: str) -> None:
    """50 mJ in 5 s, asked for each second, is 10 mW."""
    words = ("--capacity", "1 Ah", "--voltage", "3 V", "--other-load", "30 mW", "--self-discharge", "0 %",
             "--energy-per-inference", "50 mJ", "--inference-time", "5 s", "--rate", "1 per second")  # fmt: skip
    found = asked(home, *words)
    assert (found["rate_hz"], found["asked_hz"], found["overloaded"]) == (0.2, 1.0, True)
    assert found["share"]["likely"] == pytest.approx(0.25)
    text = " ".join(edgeproof("battery", *words, home=home).stdout.split())
    assert "(1 per second asked): the model runs always, 12 per minute" in text
    (home / "tag.toml").write_text(PROFILE.format(life="1 h"))
    words = ("--run", run, "--variant", "int8", "--profile", "./tag.toml", "--rate", "1 kHz", "--other-load", "0.1 W")
    found = asked(home, *words)
    assert [each["verdict"] for each in found["requirements"]] == ["INCONCLUSIVE"] * 2
    assert "cannot be kept" in found["requirements"][0]["reason"]


@pytest.fixture
def bench_run(home: Path) -> str:
    """A run of two models as `edgeproof bench` stores it: steps by number, what they are called as its recipes."""
    device = load_device(home / "config" / "edgeproof" / "devices" / "tag.toml")
    record = RunRecord(
        "20260202-000000-abcdef", "2026-02-02T00:00:00Z", "0", (), 0, "", "", "", "rows", "",
        device.name, device.digest, ("watch-cnn.onnx", "2"),
    )  # fmt: skip
    of = Run.plan(home / "runs", record)
    of.put("plan/device", device)
    of.put(PLAN, BenchOrder(("watch-cnn.onnx", "2"), "tag"))
    of.put("energy/1", energy_record(200e-6))
    of.put("energy/2", energy_record(60e-6, obtained="emulated"))
    of.release()
    return record.run_id


@pytest.mark.parametrize(
    ("variant", "joules"), [("watch-cnn.onnx", 200e-6), ("A", 200e-6), ("1", 200e-6), ("B", 60e-6), ("2", 60e-6)]
)
def test_a_model_of_a_bench_is_named_as_it_is_printed(home: Path, bench_run: str, variant: str, joules: float) -> None:
    found = asked(home, "--run", bench_run, "--variant", variant, "--rate", "6 per minute")
    assert found["energy"]["per_inference_j"]["likely"] == pytest.approx(joules, rel=1e-3)
    name = "watch-cnn.onnx" if joules > 100e-6 else "2"
    assert found["energy"]["source"] == f"{name} of run {bench_run}, bench meter"


@pytest.mark.parametrize("words", [(), ("--variant", "watch-snn.onnx"), ("--variant", "C")], ids=["none", "typo", "C"])
def test_the_models_of_a_bench_are_told(home: Path, bench_run: str, words: tuple[str, ...]) -> None:
    done = edgeproof("battery", "--run", bench_run, *words, "--rate", "6 per minute", home=home)
    assert done.returncode == 2
    assert re.search(r"fix +add --variant, one of: watch-cnn.onnx, 2\n", done.stderr)


def test_a_typed_energy_never_passes(home: Path) -> None:
    found = asked(home, "--device", "tag", "--energy-per-inference", "1 uJ", "--profile", "./tag.toml")
    assert (found["verdict"], found["exit_code"]) == ("INCONCLUSIVE", 3)
    assert "an estimate certifies nothing" in found["requirements"][0]["reason"]


def test_a_life_on_assumptions_never_passes(home: Path, run: str) -> None:
    found = asked(home, "--run", run, "--variant", "int8", "--profile", "./tag.toml", "--energy", "2 kWh")
    assert {each["metric"]: each["verdict"] for each in found["requirements"]}["battery.life"] == "PASS"
    device_file(home, "bare", 'url = "subprocess:"', '[battery]\nenergy = "2 kWh"\nother_load = "30 uW"\n')
    found = asked(home, "--run", run, "--variant", "int8", "--profile", "./tag.toml", "--device", "bare")
    verdicts = {each["metric"]: (each["verdict"], each["reason"]) for each in found["requirements"]}
    assert verdicts["battery.life"][0] == "INCONCLUSIVE"
    assert "not stated" in verdicts["battery.life"][1]


@pytest.mark.parametrize(
    ("words", "what", "fix"),
    [
        ((), "there is no battery", "--capacity"),
        (COIN, "the model's energy is not known", "--energy-per-inference"),
        ((*COIN, "--energy-per-inference", "1 mJ"), "how often the model runs is not known", "--rate"),
        ((*COIN, *MODEL, "--run", "{run}"), "given twice", "give one of"),
        (("--run", "{run}"), "several variants have energy", "fp32, int8"),
        (("--run", "{run}", "--variant", "fp16"), "no energy of 'fp16'", "fp32, int8"),
        (("--run", "none"), "no run 'none'", "20260101"),
        ((*COIN, *MODEL, "--budget", "3 bananas"), "the budget is a life", "36 h"),
        ((*COIN, *MODEL, "--budget", "150 %"), "out of range", "15 %"),
        ((*COIN, *MODEL, "--health", "old"), "health is a share", "percent"),
        ((*COIN, *MODEL, "--otii", "none.json"), "no such file", "Otii"),
        ((*COIN, "--energy-per-inference", "3 mA", "--rate", "1 Hz"), "is an energy", "mJ"),
    ],
)
def test_what_is_missing_or_wrong_is_named(home: Path, run: str, words: tuple[str, ...], what: str, fix: str) -> None:
    done = edgeproof("battery", *(word.format(run=run) for word in words), home=home)
    assert (done.returncode, done.stdout) == (2, "")
    assert what in done.stderr
    assert re.search(rf"fix .*{re.escape(fix)}", done.stderr)
    assert "Traceback" not in done.stderr


def test_the_help_has_examples_that_work(home: Path) -> None:
    text = edgeproof("battery", "--help", home=home).stdout
    assert "edgeproof battery --device watch-emulated" in text
    words = (
        "--device",
        "watch-emulated",
        "--energy-per-inference",
        "1.2 mJ",
        "--rate",
        "1 per second",
        "--budget",
        "15 %",
    )
    done = edgeproof("battery", *words, home=home)
    assert done.returncode == 0
    assert done.stdout.startswith("EMULATED: device, meter, battery")
