"""The command line as its users meet it: a real process, its exit code, its two streams."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from kit.cli.app import COMMANDS
from tests import forked
from tests.spec.bundle import Bundle, columns

HEAVY = ("numpy", "onnx", "onnxruntime", "pandas", "jinja2", "msgspec", "psutil", "serial", "sklearn")


ROOT = Path(__file__).parents[2]
ENVIRONMENT = os.environ | {"NO_COLOR": "1", "PYTHONPATH": str(ROOT)}


def anew(*words: str) -> subprocess.CompletedProcess[str]:
    """The command as a new interpreter loads it."""
    return subprocess.run(
        [sys.executable, "-m", "kit", *words], capture_output=True, text=True, env=ENVIRONMENT, timeout=120, check=False
    )


def edgeproof(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """The command, loaded already: for what it does then."""
    return forked.run(list(words), cwd=cwd, env=ENVIRONMENT, timeout=120)


def test_help_names_every_command_and_the_exit_codes() -> None:
    done = anew("--help")
    assert done.returncode == 0
    for word in ("certify", "report", "verify", "devices", "profiles", "data", "schema", "3 inconclusive", "Example"):
        assert word in done.stdout


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\n"
        "from kit.cli.app import main\n"
        "try: main(['--help'])\n"
        f"except SystemExit: print(sorted(m for m in {HEAVY!r} if m in sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    done = anew(command, "--help")
    assert done.returncode == 0
    assert f"edgeproof {command}" in done.stdout
    assert "Example" in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["certfy"], "Did you mean 'certify'"),
        (["certify"], "Missing MODEL"),
        (["certify", "m.onnx"], "Missing --data"),
        (["certify", "m.onnx", "--nonsense"], "--nonsense"),
        (["agent", "--tcp", "127.0.0.1:0"], "edgeproof agent run --help"),
        (["schema", "banana"], "banana"),
        (["report", "nothing-here"], "no run 'nothing-here'"),
        (["verify", "nothing-here"], "no run 'nothing-here'"),
        (["certify", "--resume", "nothing-here"], "no run 'nothing-here'"),
    ],
)
def test_a_wrong_command_line_is_one_clear_error_and_exit_code_2(words: list[str], says: str, tmp_path: Path) -> None:
    done = edgeproof(*words, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error[usage]: ")
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [[], ["meter"], ["agent"], ["data"]], ids=lambda words: " ".join(words) or "none")
def test_a_group_without_a_command_shows_its_help(words: list[str]) -> None:
    done = edgeproof(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == edgeproof(*words, "--help").stdout


def test_an_error_for_a_machine_is_one_object_on_stdout(tmp_path: Path) -> None:
    done = edgeproof("report", "nothing-here", "--json", cwd=tmp_path)
    assert done.returncode == 2
    error = json.loads(done.stdout)
    assert error["schema"] == "edgeproof/error/1"
    assert error["error"]["slug"] == "usage"
    assert error["error"]["exit_code"] == 2
    assert done.stderr == ""


def test_the_version_is_the_package_s() -> None:
    import kit

    assert anew("--version").stdout.strip() == f"edgeproof {kit.__version__}"


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m kit schema profile | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() in ("0", "141"), "a broken pipe is no verdict"
    assert "Traceback" not in done.stderr
    assert "error" not in done.stderr


@pytest.mark.parametrize("command", [["-m", "kit"], ["-c", "from kit.__main__ import main; main()"]])
def test_an_interrupt_while_it_is_being_loaded_is_no_traceback(command: list[str], tmp_path: Path) -> None:
    """A module that comes first on the path stands for any that is being imported as the user presses Ctrl-C."""
    (tmp_path / "click.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    search = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[2])])
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    (tmp_path / "sitecustomize.py").write_text(program)  # a test run in the background ignores it
    done = subprocess.run(
        [sys.executable, *command, "--help"],
        env=os.environ | {"PYTHONPATH": search}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 130
    assert done.stderr == "error[interrupted]: interrupted before anything was done\n"


def test_telemetry_of_the_runtime_is_off_as_soon_as_the_package_is_imported() -> None:
    program = "import kit, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60, check=True
    )
    assert done.stdout.strip() == "1"


def test_devices_and_profiles_are_listed_for_people_and_machines() -> None:
    devices = json.loads(edgeproof("devices", "--json").stdout)["devices"]
    assert {"local", "watch-emulated"} <= {item["name"] for item in devices}
    assert "EMULATED" in edgeproof("devices").stdout
    profiles = json.loads(edgeproof("profiles", "--json").stdout)["profiles"]
    assert {"basic", "wearable", "face-detector"} <= {item["name"] for item in profiles}
    shown = edgeproof("profiles", "show", "wearable").stdout
    assert "latency.p99" in shown
    assert "15 %" in shown


def test_a_device_says_who_it_is() -> None:
    import onnxruntime

    record = json.loads(edgeproof("devices", "show", "local", "--json").stdout)["device"]
    assert record["runtime_version"] == onnxruntime.__version__
    assert record["emulated"] == []


@pytest.mark.parametrize("kind", ["profile", "device", "dataset"])
def test_every_schema_is_a_json_schema(kind: str) -> None:
    import jsonschema

    schema = json.loads(edgeproof("schema", kind).stdout)
    jsonschema.Draft202012Validator.check_schema(schema)


BATTERY = (
    "battery", "--capacity", "220 mAh", "--voltage", "3 V", "--other-load", "30 uW",
    "--energy-per-inference", "7 mJ", "--rate", "6 per minute",
)  # fmt: skip
RECORD = (
    "meter", "record", "--meter", "estimate", "idle_power=1W", "active_power=2W", "-o", "trace.csv",
    "--", "sh", "-c", "echo ran; echo yes >&2",
)  # fmt: skip


@pytest.mark.parametrize("words", [BATTERY, RECORD, ("certfy",)], ids=lambda words: words[0])
@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_a_closed_stream_drops_what_is_printed_and_the_work_is_done(
    words: tuple[str, ...], closed: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", sys.executable, "-m", "kit", *words],
        capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False,
        env=ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == (2 if words == ("certfy",) else 0), done.stderr
    assert "a bug of ours" not in done.stderr
    if words == RECORD:
        assert [path.name for path in tmp_path.iterdir()] == ["trace.csv"]
        assert not {"ran", "yes"} & set((tmp_path / "trace.csv").read_text().splitlines())


def test_a_profile_is_shown_whole(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        """
[profile]
name = "own"
description = "All keys."
[bins]
age = 4
[[slice]]
name = "old"
where = "age >= 60"
why = "They fall."
[[require]]
id = "auc"
metric = "quality.loss"
measure = "auc"
by = ["side", "sex"]
cross = 2
slices = ["old"]
minimum_rows = 70
at_most = "2 points"
[[require]]
id = "groups"
metric = "fairness.gap"
measure = "equal-opportunity"
positive = "yes"
by = ["sex"]
at_most = "5 points"
[[require]]
id = "harm"
metric = "fairness.gap"
harm = "allocation"
by = ["sex"]
at_most = "5 points"
"""
    )
    shown = " ".join(edgeproof("profiles", "show", str(path)).stdout.split())
    assert "quality.loss of auc for each side, sex, crossed up to 2, and on old at most 2 points" in shown
    assert "at least 70 rows and 5 clusters in each" in shown
    assert "positive: yes" in shown
    assert "harm: allocation" in shown
    assert "slice old: age >= 60. They fall." in shown
    assert "bins: age in 4" in shown


def test_all_parts_of_a_dataset_are_listed(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path)
    bundle.parts["train"] = columns(9, 3)
    path = bundle.write()
    assert "train        9 rows" in edgeproof("data", "check", str(path)).stdout
    parts = json.loads(edgeproof("data", "check", str(path), "--json").stdout)["parts"]
    assert [part["role"] for part in parts] == ["test", "calibration", "train"]


def test_every_kind_of_column_is_shown(tmp_path: Path) -> None:
    bundle = Bundle(tmp_path)
    bundle.dataset |= {"numbers": ["age"], "weight": "stands_for", "sensitive": ["side"]}
    for part in bundle.parts.values():
        rows = len(part["label"])
        part |= {"age": np.linspace(20, 80, rows), "stands_for": np.linspace(1, 3, rows)}
    path = bundle.write()
    shown = edgeproof("data", "check", str(path)).stdout.splitlines()
    assert any(line.startswith("task         classification, ") for line in shown)
    assert any(line.startswith("    side ") and line.endswith("(sensitive)") for line in shown)
    assert not any("subject" in line and "(sensitive)" in line for line in shown)
    assert "    age        20 to 80" in shown
    assert "    weights    1 to 3" in shown
    found = json.loads(edgeproof("data", "check", str(path), "--json").stdout)
    (test, _), classes = found["parts"], found["classes"]
    assert (found["task"], classes) == ("classification", bundle.dataset["classes"])
    assert (test["sensitive"], test["numbers"], test["has_weights"]) == (["side"], ["age"], True)
    assert test["columns"]["side"] == ["left", "right"]
