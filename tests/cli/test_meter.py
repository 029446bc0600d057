"""`edgeproof meter` as its users meet it: real processes, their exit codes, their signals and their terminal."""

import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from kit.cli.meter_text import record_lines, record_object
from kit.errors import UsageError
from kit.meter.recording import read_recording
from kit.pipeline.meter import Recorded, Stretch
from kit.records import MeterRecord, TraceRecord
from tests.cli.words import ROOT, device_file, edgeproof, environment, is_for_people
from tests.emulators.pty_meter import running

ESTIMATE = ("--meter", "estimate", "idle_power=50mW", "active_power=2W")
EMULATED = ("--meter", "emulated", "idle_power=50mW", "active_power=2W")


def test_list_names_every_driver_and_what_is_missing(tmp_path: Path) -> None:
    done = edgeproof("meter", "list", home=tmp_path)
    assert done.returncode == 0
    assert is_for_people(done.stdout)
    for word in ("ppk2", "rapl", "android-battery", "replay", "found on this machine"):
        assert word in done.stdout
    value = json.loads(edgeproof("meter", "list", "--json", home=tmp_path).stdout)
    assert value["schema"] == "edgeproof/meters/1"
    assert {"ppk2", "estimate"} <= {each["name"] for each in value["drivers"]}
    assert all(each["library_is_installed"] for each in value["drivers"] if each["library"] is None)


def test_show_tells_keys_with_examples_and_does_not_open_without_them(tmp_path: Path) -> None:
    done = edgeproof("meter", "show", "ppk2", home=tmp_path)
    assert done.returncode == 0
    assert re.search(r"port=/dev/ttyACM0 +needed", done.stdout)
    assert "not read" in done.stdout
    assert is_for_people(done.stdout)
    assert not any(line.endswith(" ") for line in done.stdout.splitlines())
    assert json.loads(edgeproof("meter", "show", "ppk2", "--json", home=tmp_path).stdout)["read"] is None


def test_show_reads_a_meter_for_a_second(tmp_path: Path) -> None:
    words = ("meter", "show", *EMULATED[1:], "sample_rate=50Hz")
    done = edgeproof(*words, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert is_for_people(done.stdout)
    for word in ("EMULATED", "per second", "mean", "accuracy"):
        assert word in done.stdout
    read = json.loads(edgeproof(*words, "--json", home=tmp_path).stdout)["read"]
    assert read["seen"]["duration_s"] >= 1
    assert read["seen"]["mean_power_w"] >= 0.049


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("show", "banana"), 2, "unknown meter 'banana'"),
        (("show", "ppk2", "banana=1"), 2, "has no key 'banana'"),
        (("show", "ppk2", "voltage"), 2, "no key=value"),
        (("show", "ppk2", "port=/dev/x", "port=/dev/y"), 2, "'port' is given twice"),
        (("show", "ppk2", "port=/dev/x", "voltage=3 apples"), 2, "apples"),
        (("show", "ppk2", "port=/dev/no-such", "voltage=3V"), 5, "/dev/no-such"),
        (("record", *ESTIMATE), 2, "there is no command"),
        (("record", *ESTIMATE, "--"), 2, "there is no command"),
        (("record", "--meter", "banana", "--", "true"), 2, "unknown meter 'banana'"),
        (("record", "idle_power=1W", "--", "true"), 2, "a key needs its --meter"),
        (("record", "--device", "local", *ESTIMATE, "--", "true"), 2, "--device alone"),
        (("record", "--device", "bare", "--", "true"), 2, "the device has no meter"),
        (("record", *ESTIMATE, "--idle", "soon", "--", "true"), 2, "--idle is a time"),
        (("record", *ESTIMATE, "-o", "trace.xlsx", "--", "true"), 2, "a trace is .npz, .csv, .json"),
        (("record", *ESTIMATE, "-o", "no/trace.csv", "--", "true"), 2, "No such file or directory"),
        (("record", *ESTIMATE, "-o", "/proc/trace.csv", "--", "true"), 2, "cannot be written"),
        (("record", *ESTIMATE, "--", "/no/such/command"), 2, "there is no such command"),
        (("record", *ESTIMATE, "--", ""), 2, "cannot start '': there is no such command"),
    ],
)
def test_what_is_wrong_is_one_clear_error(words: tuple[str, ...], code: int, says: str, tmp_path: Path) -> None:
    device_file(tmp_path, "bare", 'url = "subprocess:"')
    done = edgeproof("meter", *words, home=tmp_path)
    assert done.returncode == code, done.stderr
    assert says in " ".join(done.stderr.split())
    assert done.stderr.startswith("error[")
    assert "status 0" not in done.stderr, "what never began did not end"
    assert not list(tmp_path.glob("trace*"))


def test_record_tells_energy_power_and_what_was_above_idle(tmp_path: Path) -> None:
    spin = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass"
    words = ("meter", "record", *EMULATED, "--idle", "300ms", "-o", "trace.csv")
    done = edgeproof(*words, "--", sys.executable, "-c", spin, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert is_for_people(done.stdout)
    assert done.stdout.startswith("EMULATED")
    for word in ("energy", "mean", "peak", "idle", "above idle", "status 0", "lost sample", "trace.csv"):
        assert word in done.stdout
    assert read_recording(tmp_path / "trace.csv").obtained == "emulated"


def test_record_for_machines_keeps_standard_output_to_itself(tmp_path: Path) -> None:
    done = edgeproof("meter", "record", *ESTIMATE, "--json", "--", "sh", "-c", "echo words; exit 9", home=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "words\n"
    value = json.loads(done.stdout)
    assert (value["schema"], value["status"], value["obtained"]) == ("edgeproof/meter-record/1", 9, "estimated")
    assert value["command"] == ["sh", "-c", "echo words; exit 9"]
    assert value["measured"]["energy_j"] > 0
    assert value["accuracy_j"] is value["above_idle_j"] is value["idle"] is value["trace"] is None


def test_every_key_for_machines_is_documented(tmp_path: Path) -> None:
    words = ("meter", "record", *EMULATED, "--idle", "100ms", "--json", "--", "sleep", "0.1")
    value = json.loads(edgeproof(*words, home=tmp_path).stdout)
    documented = (ROOT / "docs/meters.md").read_text().split("### JSON")[1].split("### The trace")[0]
    keys = [*value, *value["measured"], *value["meter"], *value["meter"]["accuracy"]]
    assert [key for key in keys if f"`{key}`" not in documented] == []
    assert value["idle"].keys() == value["measured"].keys()


def test_an_estimate_is_one_mean_and_no_peak(tmp_path: Path) -> None:
    done = edgeproof("meter", "record", *ESTIMATE, "--", "sleep", "0.1", home=tmp_path)
    assert re.search(r"^power +mean [\d.]+ mW$", done.stdout, re.MULTILINE), done.stdout


@pytest.mark.parametrize(("lost", "warned"), [(0, False), (5, False), (6, True), (1000, True)])
def test_many_lost_samples_are_a_warning(lost: int, warned: bool) -> None:
    """Of 95 samples that came, 5 more are one of 20."""
    meter, t_ns = MeterRecord("emulated", "emulated", "words", {}), np.arange(95, dtype=np.int64) * 10**7
    no_gaps = np.empty((0, 2), np.int64)
    trace = TraceRecord(meter, t_ns, np.full(95, 0.5), None, None, None, lost, no_gaps, None, "", "emulated")
    whole = Stretch(0.94, 0.94, 0.47, 0.5, 0.5, None, None)
    found = Recorded(("true",), 0, trace, whole, None, None)
    told = record_object(found, None)["warnings"]
    assert bool(told) == warned
    lines = " ".join(" ".join(record_lines(found, None)).split())
    assert ("of the samples were lost" in lines) == warned
    if warned:
        assert told[0] in lines
        assert told[0].startswith("5.9" if lost == 6 else "91")


def test_current_that_flows_back_is_a_warning(tmp_path: Path) -> None:
    rows = "".join(f"{k / 1000},-0.5\n" for k in range(5000))
    (tmp_path / "back.csv").write_text(f"# meter: x\n# obtained: measured\nt_s,power_w\n{rows}")
    words = ("meter", "record", "--meter", "replay", "file=back.csv")
    done = edgeproof(*words, "--", "sleep", "0.1", home=tmp_path)
    assert "warning the mean power is negative" in " ".join(done.stdout.split())
    (told,) = json.loads(edgeproof(*words, "--json", "--", "sleep", "0.1", home=tmp_path).stdout)["warnings"]
    assert "leads swapped?" in told


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
def test_figures_are_told_where_the_trace_cannot_be_written(options: tuple[str, ...], tmp_path: Path) -> None:
    """The command takes the place while it runs."""
    words = ("meter", "record", *ESTIMATE, "-o", "t.csv", *options, "--", "mkdir", "t.csv")
    done = edgeproof(*words, home=tmp_path)
    assert done.returncode == 2
    assert "cannot be written: Is a directory" in " ".join(done.stderr.split())
    if options:
        value = json.loads(done.stdout)
        assert value["measured"]["energy_j"] > 0
        assert value["trace"] is None
    else:
        assert re.search(r"^energy +\d", done.stdout, re.MULTILINE)
        assert not re.search(r"^trace ", done.stdout, re.MULTILINE)
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith("partial")] == []


def test_the_command_s_own_options_are_left_to_it(tmp_path: Path) -> None:
    done = edgeproof("meter", "record", *ESTIMATE, "--", "echo", "--help", "-o", "--", "x", home=tmp_path)
    assert done.returncode == 0
    assert done.stdout.startswith("--help -o -- x\n")


def test_a_failed_command_is_measured_and_told(tmp_path: Path) -> None:
    done = edgeproof("meter", "record", *ESTIMATE, "--", "sh", "-c", "kill -KILL $$", home=tmp_path)
    assert done.returncode == 1
    assert "was ended by SIGKILL" in done.stdout
    assert "energy" in done.stdout


def test_the_meter_of_a_device_file(tmp_path: Path) -> None:
    meter = ('url = "subprocess:"', "[meter]", 'driver = "emulated"', 'idle_power = "50 mW"', 'active_power = "1 W"')
    name = device_file(tmp_path, "watch", *meter, emulated='"meter"')
    done = edgeproof("meter", "record", "--device", name, "--json", "--", "sleep", "0.2", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["meter"]["parameters"]["active_power_w"] == 1


MAIN = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
from kit.__main__ import main
main()
"""
"""A test run in the background ignores SIGINT, and one without a terminal SIGHUP: both hand that on."""


def begun(home: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, "meter", "record", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=home, env=environment(home),
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda n: n.name)
def test_a_signal_ends_both_and_keeps_the_trace(number: signal.Signals, tmp_path: Path) -> None:
    script = "echo $$; sleep 60"
    with begun(tmp_path, *EMULATED, "-o", "trace.npz", "--", "sh", "-c", script) as process:
        assert process.stdout is not None
        command = psutil.Process(int(process.stdout.readline()))
        time.sleep(0.3)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"was ended by {number.name}" in out
    assert f"interrupted by {number.name}" in err
    assert "energy" in out
    assert not command.is_running()
    assert read_recording(tmp_path / "trace.npz").t_ns[-1] > 0.2e9


ON_A_TERMINAL = f"import os, fcntl, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n{MAIN}"


def on_a_terminal(home: Path, terminal: int, *words: str) -> subprocess.Popen[bytes]:
    """The command in a session of its own, whose terminal is a real one as far as the kernel is concerned."""
    return subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, "meter", "record", *words],
        stdin=terminal, stdout=terminal, stderr=terminal, cwd=home, env=environment(home),
    )  # fmt: skip


def said(terminal: int, wanted: bytes) -> bytes:
    """What the terminal showed, until `wanted` is in it or all have let go of it."""
    shown = b""
    while wanted not in shown:
        try:
            shown += os.read(terminal, 4096)
        except OSError:
            break
    return shown


def test_the_command_has_the_terminal_and_gives_it_back(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    script = "echo ready; read line; echo got $line"
    process = on_a_terminal(tmp_path, theirs, *ESTIMATE, "--", "sh", "-c", script)
    os.close(theirs)
    said(ours, b"ready")
    os.write(ours, b"words\n")
    shown = said(ours, b"never shown")
    assert process.wait(timeout=30) == 0, shown
    assert b"got words" in shown
    assert b"energy" in shown, "our own report comes after, on a terminal that is ours again"
    os.close(ours)


def test_ctrl_c_on_a_terminal_ends_the_command_and_keeps_the_trace(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, b"\x18\x00\x50\x00\x00\x00\x00\x00")
    process = on_a_terminal(tmp_path, theirs, *EMULATED, "-o", "t.csv", "--", "sh", "-c", "echo ready; sleep 60")
    os.close(theirs)
    said(ours, b"ready")
    time.sleep(0.3)
    os.write(ours, b"\x03")
    shown = said(ours, b"never shown")
    assert process.wait(timeout=30) == 130, shown
    assert b"interrupted by SIGINT" in shown
    assert (tmp_path / "t.csv").exists()
    os.close(ours)


def test_listing_meters_imports_no_runtime_and_no_model_library() -> None:
    program = (
        "import sys\nfrom kit.cli.app import main\n"
        "try: main(['meter', 'list', '--json'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('onnx', 'onnxruntime', 'pandas') if m in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stderr.strip() == "[]"


def test_an_instrument_s_energy_current_and_losses(tmp_path: Path) -> None:
    """A PPK2, emulated at the other end of a port, with 8.5 mA through it at 3.3 V and 5,000 samples lost."""
    with running("ppk2", lose="30000:5000") as meter:
        words = ("--meter", "ppk2", f"port={meter.path}", "voltage=3.3V", "--json", "-o", "t.npz")
        done = edgeproof("meter", "record", *words, "--", "sleep", "1", home=tmp_path)
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    found = value["measured"]
    assert value["obtained"] == "emulated", "a port of a program is no instrument's"
    assert found["mean_current_a"] == pytest.approx(8.5e-3, rel=2e-3)
    assert found["mean_power_w"] == pytest.approx(8.5e-3 * 3.3, rel=2e-3)
    assert found["energy_j"] == pytest.approx(8.5e-3 * 3.3 * found["seen_s"], rel=2e-3)
    assert value["lost_samples"] >= 5000
    assert value["gaps"] >= 1
    assert found["seen_s"] <= found["duration_s"] - 0.045, "what was lost was not seen, and is not made up"
    assert read_recording(tmp_path / "t.npz").lost_samples == value["lost_samples"]


def test_an_instrument_that_vanishes_leaves_what_it_measured(tmp_path: Path) -> None:
    with running("ppk2", unplug_s=0.6) as meter:
        words = ("--meter", "ppk2", f"port={meter.path}", "voltage=3.3V", "-o", "t.csv")
        done = edgeproof("meter", "record", *words, "--", "sleep", "1.5", home=tmp_path)
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stdout.split())
    assert "that were seen" in told
    assert re.search(r"not seen .*the meter ended early: ", told)
    assert read_recording(tmp_path / "t.csv").ended


def test_a_recorded_trace_can_be_looked_at_like_a_meter(tmp_path: Path) -> None:
    done = edgeproof("meter", "record", *EMULATED, "-o", "t.json", "--", "sleep", "1.2", home=tmp_path)
    assert done.returncode == 0, done.stderr
    done = edgeproof("meter", "show", "replay", "file=t.json", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "EMULATED" in done.stdout
    assert re.search(r"mean 5\d(\.\d)? mW", done.stdout), done.stdout


@pytest.mark.parametrize(
    ("known", "says"), [((0, 50), r"current +mean 200 mA, peak 200 mA, of the"), ((0, 0), None)], ids=["some", "none"]
)
def test_a_current_that_is_not_known_is_no_number(known: tuple[int, int], says: str | None, tmp_path: Path) -> None:
    rows = [f"{i / 100},1,{0.2 if i in range(*known) else ''}" for i in range(1000)]
    (tmp_path / "n.csv").write_text("\n".join(["t_s,power_w,current_a", *rows]))
    words = ("meter", "show", "replay", "file=n.csv")
    done = edgeproof(*words, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "nan" not in done.stdout
    assert re.search(says or "power +mean 1 W", done.stdout), done.stdout
    assert says or not re.search(r"^current ", done.stdout, re.MULTILINE)
    seen = json.loads(edgeproof(*words, "--json", home=tmp_path).stdout)["read"]["seen"]
    assert (seen["mean_current_a"] is None) == (says is None)
    assert seen["current_seen_s"] < seen["seen_s"]


@pytest.mark.parametrize(
    ("files", "driver"),
    [
        ({"powercap/intel-rapl:0/name": "package-0", "powercap/intel-rapl:0/energy_uj": "1"}, "rapl"),
        ({"hwmon/hwmon0/name": "ina226", "hwmon/hwmon0/power1_input": "1"}, "ina"),
        ({"power_supply/BAT0/type": "Battery", "power_supply/BAT0/status": "Discharging"}, None),
        ({}, None),
    ],
    ids=["rapl", "ina", "a battery is asked for by name", "none"],
)
def test_without_a_word_about_it_the_meter_that_is_found_is_taken(
    files: dict[str, str], driver: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kit.cli.meter import _chosen
    from kit.files import LocalFiles

    for path, text in files.items():
        place = tmp_path / "sys" / "class" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    monkeypatch.setattr("kit.files.LocalFiles", lambda: LocalFiles(tmp_path))
    if driver is not None:
        assert _chosen(None, None, {}).driver == driver
        return
    with pytest.raises(UsageError, match="no meter was found"):
        _chosen(None, None, {})
