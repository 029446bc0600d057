"""`edgeproof devices` as its users meet it: real agents, a real board emulator, real signals."""

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from kit.spec.types import LineSpec
from tests import device_kit
from tests.cli.words import ROOT, device_file, edgeproof, is_for_people, start
from tests.emulators.boards import EmulatedBoard
from tests.tcp_agent import tcp_agent

LONGER = {"slower": "12s", "jumping-clock": "6s", "altered-echo": "6s"}
"""How long a check must last: a trend wants windows, of which a busy machine gives few."""

AILING = ROOT / "tests" / "cli" / "ailing_agent.py"


def ailing(home: Path, ailment: str) -> str:
    """A device file of an agent with an ailment."""
    words = f'command = ["{sys.executable}", "{AILING}", "{ailment}"]'
    return device_file(home, ailment, 'url = "subprocess:"', words, 'timeout = "10 s"')


def findings(*words: object, home: Path) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Exit code, the whole object, and its findings by name."""
    done = edgeproof("devices", "check", *words, "--json", home=home)
    said = json.loads(done.stdout)
    assert said["schema"] == "edgeproof/health/1", done.stdout
    return done.returncode, said, {each["name"]: each for each in said["findings"]}


class TestList:
    def test_a_broken_file_is_told_on_one_line_and_hides_no_other(self, tmp_path: Path) -> None:
        device_file(tmp_path, "scanner-7", 'url = "/dev/ttyUSB0"', "baud = 921600")
        broken = tmp_path / "config/edgeproof/devices/broken.toml"
        broken.write_text('[device]\nname = "broken"\n[link]\nurl = "subprocess:"\nbuad = 9600\n')
        done = edgeproof("devices", home=tmp_path)
        assert done.returncode == 0
        for name in ("local", "watch-emulated", "scanner-7"):
            assert name in done.stdout
        assert done.stderr == f"not read: {broken}:5: link.buad: unknown key\n"
        assert is_for_people(done.stdout)
        said = json.loads(edgeproof("devices", "--json", home=tmp_path).stdout)
        assert {"local", "scanner-7"} <= {each["name"] for each in said["devices"]}
        assert said["broken"] == [
            {"where": f"{broken}:5", "what": "link.buad: unknown key", "next_step": 'did you mean "baud"?'}
        ]

    def test_the_name_that_is_listed_is_the_one_that_is_taken(self, tmp_path: Path) -> None:
        device_file(tmp_path, "a-board", 'url = "subprocess:"')
        path = tmp_path / "config/edgeproof/devices/a-board.toml"
        path.write_text(path.read_text().replace('name = "a-board"', 'name = "The board on my desk"'))
        listed = {each["name"] for each in json.loads(edgeproof("devices", "--json", home=tmp_path).stdout)["devices"]}
        assert "a-board" in listed
        assert edgeproof("devices", "show", "a-board", home=tmp_path).returncode == 0


class TestScan:
    def test_what_is_found_is_a_word_that_other_commands_take(self, tmp_path: Path) -> None:
        with tcp_agent(tmp_path) as (url, _):
            said = json.loads(edgeproof("devices", "scan", "--json", home=tmp_path).stdout)
            assert said["schema"] == "edgeproof/scan/1"
            found = {each["url"]: each for each in said["found"]}
            assert (found[url]["kind"], found[url]["state"]) == ("agent", "free")
            table = edgeproof("devices", "scan", home=tmp_path)
            assert table.returncode == 0
            assert table.stdout.startswith("--device")
            assert url in table.stdout
            assert is_for_people(table.stdout)
            shown = json.loads(edgeproof("devices", "show", url, "--json", home=tmp_path).stdout)
            assert shown["device"]["link"] == url


class TestShow:
    def test_it_says_who_it_is_in_groups_and_what_it_does_not_tell(self, tmp_path: Path) -> None:
        done = edgeproof("devices", "show", "local", home=tmp_path)
        assert done.returncode == 0
        assert done.stdout.startswith("local  subprocess:\n")
        for word in ("device", "runtime", "link", "now", "free storage", "limits             none", "(not told)"):
            assert word in done.stdout
        assert "the same as this host's" in done.stdout
        assert "None" not in done.stdout
        assert is_for_people(done.stdout)

    def test_the_clock_and_the_link_are_told_with_their_bounds(self, tmp_path: Path) -> None:
        said = json.loads(edgeproof("devices", "show", "subprocess:", "--json", home=tmp_path).stdout)
        assert abs(said["clock"]["offset_ns"]) <= said["clock"]["error_ns"], "both are this machine's monotonic clock"
        assert said["link"]["kind"] == "subprocess"
        assert 0 < said["link"]["round_trip_s"] < 1
        assert said["link"]["nominal_bytes_per_s"] is None
        assert said["same_agent_as_host"] is True

    def test_limits_are_told_and_by_what(self, tmp_path: Path) -> None:
        name = device_file(
            tmp_path, "small", 'url = "subprocess:"', "[emulate]", 'memory = "400 MiB"', "baud = 921600",
            emulated='"device", "memory", "link"',
        )  # fmt: skip
        done = edgeproof("devices", "show", name, home=tmp_path)
        assert "EMULATED: device, memory, link" in done.stdout
        assert "400 MiB of memory (" in done.stdout
        assert "serial line of 921600 baud, EMULATED" in done.stdout
        assert "92.2 kB/s" in done.stdout
        assert is_for_people(done.stdout)

    def test_a_port_is_taken_wherever_it_is(self, tmp_path: Path) -> None:
        with EmulatedBoard(LineSpec(115200, 0.001)) as board:
            (tmp_path / "ttyB").symlink_to(board.spec.link)
            done = edgeproof("devices", "show", f"mlperf-tiny+{tmp_path}/ttyB?baud=115200", home=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "EMULATED, model kws01" in done.stdout

    def test_another_release_is_named(self, tmp_path: Path) -> None:
        done = edgeproof("devices", "show", ailing(tmp_path, "other-release"), home=tmp_path)
        assert "NOT the same as this host's" in " ".join(done.stdout.split())

    @pytest.mark.parametrize(
        ("device", "code", "says"),
        [
            ("/dev/ttyNOT0", 4, "there is no port /dev/ttyNOT0"),
            ("tcp://127.0.0.1:1", 4, "no agent listens at 127.0.0.1:1"),
            ("banana:split", 2, "unknown kind"),
            ("locl", 2, 'did you mean "local"?'),
            ("/dev/ttyUSB0?baud=fast", 2, "no line rate"),
        ],
    )
    def test_what_cannot_be_reached_is_one_error_with_what_to_do(
        self, tmp_path: Path, device: str, code: int, says: str
    ) -> None:
        done = edgeproof("devices", "show", device, home=tmp_path)
        assert (done.returncode, done.stdout) == (code, "")
        assert says in done.stderr
        assert "  fix " in done.stderr
        assert len(done.stderr.splitlines()) <= 3


class TestCheck:
    def test_this_machine(self, tmp_path: Path) -> None:
        done = edgeproof("devices", "check", "local", "--duration", "3s", home=tmp_path)
        verdict = done.stdout.splitlines()[-1].split()[0]
        assert done.returncode == {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}[verdict], done.stdout
        assert done.stderr == "", "three seconds are too few for a line of progress"
        assert is_for_people(done.stdout)
        for line in ("ok           agent release", "ok           echoed bytes", "ok           known answers"):
            assert line in done.stdout
        left = [each.name for each in (tmp_path / "cache").rglob("*") if each.is_file()]
        assert set(left) <= {"lock"}  # a test leaves no models behind

    def test_every_check_is_told_with_figure_and_limit(self, tmp_path: Path) -> None:
        code, said, found = findings("local", "--duration", "3s", home=tmp_path)
        assert code == {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}[said["verdict"]]
        assert 2 <= said["duration_s"] < 10
        for name in ("agent release", "echoed bytes", "round trip, p99", "known answers", "free storage"):
            assert found[name]["status"] == "ok", found[name]
            assert found[name]["value"] is not None
        assert found["resent"]["status"] == "cannot tell"
        assert found["resent"]["value"] is None

    @pytest.mark.parametrize(
        ("ailment", "check", "status", "code"),
        [
            ("altered-echo", "echoed bytes", "bad", 1),
            ("wrong-sums", "known answers", "bad", 1),
            ("slower", "steady speed", "bad", 1),
            ("jumping-clock", "clock drift", "bad", 1),
            ("other-release", "agent release", "bad", 1),
        ],
    )
    def test_each_ailment_is_found(self, tmp_path: Path, ailment: str, check: str, status: str, code: int) -> None:
        duration = LONGER.get(ailment, "3s")
        got, said, found = findings(ailing(tmp_path, ailment), "--duration", duration, home=tmp_path)
        assert found[check]["status"] == status, found[check]
        assert (got, said["verdict"]) == (code, "FAIL")
        assert found[check]["why"]
        assert found[check]["next_step"]

    def test_what_cannot_be_told_is_no_pass(self, tmp_path: Path) -> None:
        code, said, found = findings(ailing(tmp_path, "no-memory"), "--duration", "3s", home=tmp_path)
        assert (found["free memory"]["status"], found["free memory"]["required"]) == ("cannot tell", True)
        assert said["verdict"] != "PASS"
        assert code != 0

    def test_a_bad_check_says_why_and_what_to_do_for_people(self, tmp_path: Path) -> None:
        done = edgeproof("devices", "check", ailing(tmp_path, "altered-echo"), "--duration", "4s", home=tmp_path)
        assert done.returncode == 1
        assert "BAD          echoed bytes" in done.stdout
        assert "why: " in done.stdout
        assert "fix: " in done.stdout
        assert done.stdout.splitlines()[-1].startswith("FAIL  ")
        assert is_for_people(done.stdout)

    def test_an_agent_that_dies_in_the_middle_is_one_error(self, tmp_path: Path) -> None:
        done = edgeproof("devices", "check", ailing(tmp_path, "dies"), "--duration", "3s", home=tmp_path)
        assert (done.returncode, done.stdout) == (4, "")
        assert done.stderr.startswith("error[")
        assert "Traceback" not in done.stderr

    def test_ctrl_c_ends_it_at_once_and_the_agent_with_it(self, tmp_path: Path) -> None:
        with start("devices", "check", "local", "--duration", "60s", home=tmp_path) as process:
            time.sleep(4)
            process.send_signal(signal.SIGINT)
            started_s = time.monotonic()
            out, err = process.communicate(timeout=20)
        assert process.returncode == 130
        assert time.monotonic() - started_s < 8
        assert out == ""
        assert err.splitlines() == [
            "error[interrupted]: interrupted; a test keeps nothing",
            "  fix    a shorter one: --duration 20s",
        ]

    @pytest.mark.parametrize(
        ("duration", "says"),
        [("1s", "from 3 s to an hour"), ("2h", "from 3 s to an hour"), ("10 W", "is a time"), ("soon", "is a time")],
    )
    def test_a_duration_that_is_none(self, tmp_path: Path, duration: str, says: str) -> None:
        done = edgeproof("devices", "check", "local", "--duration", duration, home=tmp_path)
        assert done.returncode == 2
        assert says in done.stderr
        assert "--duration 20s" in done.stderr
        assert "from 3s to 1h" in done.stderr

    def test_a_line_is_held_to_its_rate(self, tmp_path: Path) -> None:
        name = device_file(
            tmp_path, "line", 'url = "subprocess:"', "[emulate]", "baud = 921600", emulated='"device", "link"'
        )
        _, _, found = findings(name, "--duration", "12s", home=tmp_path)
        assert found["echoed bytes"]["status"] == "ok"
        assert found["resent"]["status"] == "ok"
        for name in ("goodput to the device", "goodput from the device"):
            assert 0.2 < found[name]["value"] <= 1.0, found[name]


class TestBoard:
    def test_a_board_is_checked_as_far_as_its_protocol_goes(self, tmp_path: Path) -> None:
        with EmulatedBoard(LineSpec(921600, 0.001)) as board:
            device = f"mlperf-tiny+{board.spec.link}?baud=921600"
            code, said, found = findings(device, "--duration", "3s", home=tmp_path)
            shown = edgeproof("devices", "show", device, home=tmp_path)
        assert (code, said["verdict"]) == (0, "PASS")
        assert found["bytes read back"]["value"] == 0
        assert found["round trip, p99"]["value"] > 0
        assert found["free memory"]["detail"] == "not in the protocol"
        assert "EMULATED, model kws01" in shown.stdout
        assert "processor          (not told)" in shown.stdout

    def test_a_line_that_loses_bytes_is_found(self, tmp_path: Path) -> None:
        with EmulatedBoard(LineSpec(115200, 0.001, byte_loss_rate=0.004)) as board:
            device = f"mlperf-tiny+{board.spec.link}?baud=115200"
            code, said, found = findings(device, "--duration", "8s", home=tmp_path)
        assert (code, said["verdict"]) == (1, "FAIL")
        assert found["bytes read back"]["value"] > 0

    @pytest.mark.parametrize("words", [("deploy", "net.onnx"), ("certify", "net.onnx", "--data", "none.toml")])
    def test_it_takes_no_model_and_that_is_told_before_anything_is_opened(
        self, tmp_path: Path, words: tuple[str, ...]
    ) -> None:
        (tmp_path / "net.onnx").write_bytes(device_kit.linear())
        done = edgeproof(*words, "--device", "mlperf-tiny+/dev/ttyNOT0", home=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert "the one model that is in its firmware" in done.stderr
        assert "edgeproof score" in done.stderr
        assert "resume" not in done.stderr
        assert not (tmp_path / "runs").exists()


class TestSetup:
    def test_most_devices_need_none(self, tmp_path: Path) -> None:
        done = edgeproof("devices", "setup", "local", home=tmp_path)
        assert done.returncode == 0
        assert "needs nothing set up" in done.stdout
        said = json.loads(edgeproof("devices", "setup", "local", "--json", home=tmp_path).stdout)
        assert said == {"schema": "edgeproof/setup/1", "device": "local", "root": None}
