"""The adb link against an emulated server: what the server says, what it cannot say, and a server that lies."""

import sys
import time

import pytest

from kit.device import open_link
from kit.device.adb import AdbLink
from kit.device.adb_server import AdbDevice, Server, devices
from kit.errors import EdgeproofError, LinkError, SpecError
from tests import device_kit as kits
from tests.emulators.adb_server import AdbServer

BOARD, PHONE = "0123456789ABCDEF", "192.168.7.2:5555"


def soon(seconds=5.0):
    return time.monotonic() + seconds


def spec(server, serial="", **changes):
    return kits.device_spec(**{"link": server.url(serial), "command": ("cat",), "timeout_s": 5.0} | changes)


def refusal(server, serial="", **changes):
    """What is said instead of opening, on one line, with the device and what to do."""
    with pytest.raises(LinkError) as caught:
        AdbLink(spec(server, serial, **changes))
    error = caught.value
    assert error.where == "device local"
    assert error.next_step
    assert "\n" not in error.what + error.next_step
    return error


def end_of(server, *command):
    """What is said when the stream ends, and the bytes before."""
    link, said = AdbLink(spec(server, BOARD, command=command)), b""
    try:
        while True:
            said += link.read(soon())
    except LinkError as error:
        return error, said
    finally:
        link.close()


@pytest.fixture(scope="module")
def server():
    with AdbServer({BOARD: "device"}) as one:
        yield one


class TestServer:
    def test_it_tells_its_version(self, server):
        assert Server("127.0.0.1", server.port).ask("host:version", soon()) == "0029"

    def test_devices_in_every_state(self):
        states = {
            BOARD: "device",
            PHONE: "unauthorized",
            "emulator-5554": "offline",
            "NOUDEV": "no permissions (user in plugdev group; are your udev rules wrong?); see [http://x.org/y.html]",
            "(no serial number)": "connecting",
        }
        with AdbServer(states) as one:
            found = devices(Server("127.0.0.1", one.port), soon())
        assert found[0] == AdbDevice(BOARD, "device", "Test_Board")
        assert [each.serial for each in found] == list(states)
        assert [each.state.split(" (")[0] for each in found] == [
            "device", "unauthorized", "offline", "no permissions", "connecting",
        ]  # fmt: skip

    def test_no_devices_is_an_empty_list(self):
        with AdbServer({}) as one:
            assert devices(Server("127.0.0.1", one.port), soon()) == []

    def test_what_it_refuses_is_told(self, server):
        with pytest.raises(LinkError, match="unknown host service 'nonsense'"):
            Server("127.0.0.1", server.port).ask("host:nonsense", soon())


class TestChoice:
    def test_the_only_device_needs_no_name(self, server):
        link = AdbLink(spec(server))
        assert link.serial == BOARD
        link.close()

    def test_one_of_several_is_named(self):
        with AdbServer({BOARD: "device", PHONE: "device"}) as several:
            error = refusal(several)
            assert "2 devices" in error.what
            assert BOARD in error.next_step
            assert PHONE in error.next_step
            link = AdbLink(spec(several, PHONE))
            assert link.serial == PHONE
            link.close()

    def test_one_that_is_not_there(self, server):
        error = refusal(server, "NOSUCH")
        assert "no device NOSUCH" in error.what
        assert BOARD in error.next_step

    def test_none_at_all(self):
        with AdbServer({}) as empty:
            assert "USB debugging" in refusal(empty).next_step

    @pytest.mark.parametrize(
        ("state", "what", "next_step"),
        [
            ("unauthorized", "has not accepted this computer", "allow USB debugging"),
            ("authorizing", "being asked", "allow USB debugging"),
            ("offline", "is offline", "adb reconnect"),
            ("connecting", "still connecting", "wait"),
            ("no permissions; see [http://developer.android.com]", "may not be opened", "udev"),
            ("bootloader", "in state 'bootloader'", "adb reboot"),
            ("recovery", "in state 'recovery'", "adb reboot"),
        ],
    )
    def test_one_that_cannot_be_used(self, state, what, next_step):
        with AdbServer({BOARD: state}) as one:
            error = refusal(one, BOARD)
        assert BOARD in error.what
        assert what in error.what
        assert next_step in error.next_step

    def test_one_that_goes_between_listing_and_opening(self, server):
        with pytest.raises(LinkError, match="device 'GONE' not found"):
            Server("127.0.0.1", server.port).open("GONE", "exec:cat", soon())

    def test_no_server(self):
        with AdbServer({}) as gone:
            pass
        error = refusal(gone)
        assert "no adb server answers" in error.what
        assert "adb start-server" in error.next_step

    @pytest.mark.parametrize(
        "url",
        ["adb:a b", "adb:-s", "adb:x;reboot", "adb://host:0x1/S", "adb://h:99999/S", "adb:x/y", "adb:" + "x" * 300],
    )
    def test_a_url_that_names_none(self, url):
        with pytest.raises(SpecError) as caught:
            open_link(kits.device_spec(link=url))
        assert "adb:SERIAL" in caught.value.next_step

    def test_a_command_that_an_old_device_cannot_take(self, server):
        with pytest.raises(SpecError, match="5003 bytes"):
            AdbLink(spec(server, command=("x" * 5003,)))


class TestCommand:
    def test_words_stay_words(self, server):
        link = AdbLink(spec(server, command=("printf", "%s|", "a b", "$HOME", "'", '"', ";", "ä", "*")))
        expected = "a b|$HOME|'|\"|;|ä|*|".encode()
        said = b""
        while len(said) < len(expected):
            said += link.read(soon())
        assert said == expected
        link.close()

    def test_what_it_writes_to_its_errors_does_not_enter_the_stream(self, server):
        error, said = end_of(server, "sh", "-c", "echo noise >&2; echo answer")
        assert said == b"answer\n"
        assert BOARD in error.next_step

    def test_a_wrapper_comes_before_it(self, server):
        link = AdbLink(spec(server, wrapper=("env", "WHO=me"), command=("sh", "-c", "echo $WHO; cat")))
        assert link.read(soon()) == b"me\n"
        link.close()

    @pytest.mark.parametrize(
        ("command", "what", "next_step"),
        [
            (("nosuchprogram", "agent.pyz"), "there is no nosuchprogram", "`command`"),
            (
                (sys.executable, "/nowhere/agent.pyz"),
                "there is no /nowhere/agent.pyz",
                f"adb -s {BOARD} push agent.pyz /nowhere/agent.pyz",
            ),
            ((sys.executable, "-m", "nosuchmodule"), "no nosuchmodule", "install numpy and onnxruntime"),
            (("sh", "-c", "echo its last words >&2; exit 3"), "agent ended", "its last words"),
            (("true",), "agent ended", "adb -s"),
        ],
    )
    def test_one_that_does_not_start(self, server, command, what, next_step):
        start_s = time.monotonic()
        error, said = end_of(server, *command)
        assert said == b""
        assert what in error.what
        assert next_step in error.next_step
        assert time.monotonic() - start_s < 15

    def test_its_last_words_are_bounded_in_size_and_time(self, server):
        start_s = time.monotonic()
        error, _ = end_of(server, "sh", "-c", "[ -t 0 ] || while :; do printf '\\033[2J%01000d' 7 >&2; done")
        assert time.monotonic() - start_s < 15
        assert error.next_step.isprintable()
        assert len(error.next_step) < 300

    def test_the_device_hangs_up_on_it_when_the_link_closes(self, server):
        link = AdbLink(spec(server, command=("sh", "-c", "echo $$; exec sleep 60")))
        process_id = int(link.read(soon()))
        link.close()
        assert kits.wait_gone(process_id)


class TestUnplugged:
    def test_in_mid_stream(self):
        with AdbServer({BOARD: "device"}) as one:
            link = AdbLink(spec(one, BOARD, command=("sh", "-c", "echo; read _")))
            assert link.read(soon()) == b"\n"
            del one.devices[BOARD]
            link.write(b"\n", soon())
            with pytest.raises(LinkError, match=f"no device {BOARD}") as caught:
                link.read(soon())
            assert "plug it in" in caught.value.next_step
            link.close()

    def test_a_server_that_goes_in_mid_stream(self):
        with AdbServer({BOARD: "device"}) as one:
            link = AdbLink(spec(one, BOARD))
            link.write(b"x", soon())
            assert link.read(soon()) == b"x"
        with pytest.raises(LinkError, match="no adb server answers"):
            link.read(soon())
        link.close()

    def test_a_stream_that_is_cut_is_no_end_that_was_meant(self):
        with AdbServer({BOARD: "device"}, mode="cut", cut_bytes=1000) as one:
            link, said = AdbLink(spec(one, BOARD, command=("head", "-c", "5000", "/dev/zero"))), b""
            while len(said) < 1000:
                said += link.read(soon())
            with pytest.raises(LinkError) as caught:
                link.read(soon())
            assert caught.value.next_step
            link.close()


class TestHostile:
    @pytest.mark.parametrize(
        ("mode", "what"),
        [
            ("garbage", "no adb server"),
            ("stranger", "no adb server"),
            ("fail", "does not answer in time"),
            ("silent", "does not answer in time"),
            ("hangup", "closed the connection"),
        ],
    )
    def test_a_server_that_is_none(self, mode, what):
        with AdbServer({BOARD: "device"}, mode=mode) as one:
            start_s = time.monotonic()
            error = refusal(one, BOARD, timeout_s=0.5)
            assert time.monotonic() - start_s < 10
        assert what in error.what
        assert error.what.isprintable()

    def test_the_reason_of_a_refusal_is_one_printable_line(self):
        with AdbServer({"X\x1b[2J": "device"}) as one, pytest.raises(EdgeproofError) as caught:
            Server("127.0.0.1", one.port).open("\x1b[31mnone\nat all" * 100, "exec:cat", soon())
        assert caught.value.what.isprintable()
        assert len(caught.value.what) < 300
