"""The emulated line is a UART to whoever uses it: its rate, delay, buffer and faults, on real pseudo-terminals."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from kit.device.line import EmulatedLine, LineFaults
from kit.device.line.faults import Chance, Damage
from kit.device.line.uart import BUFFER_BYTES
from kit.device.serial import SerialPort
from kit.errors import LinkError
from kit.spec.types import LineSpec
from tests.device_kit import wait_gone

PTY_BYTES = 18 << 10


class Ends:
    """A line and both of its ports, open."""

    def __init__(self, line, faults=None, seed=0):
        self.line, self.baud = EmulatedLine(line, faults, seed=seed), line.baud
        self.host = SerialPort(self.line.host_port, line.baud, "host")
        self.device = SerialPort(self.line.device_port, line.baud, "device")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.host.close()
        self.device.close()
        self.line.close()


def receive(port, size, patience_s=5.0):
    """What arrives, up to `size` bytes, until nothing more comes."""
    got = b""
    while len(got) < size and (data := port.read(patience_s)):
        got += data
    return got


def pass_through(sender, receiver, data, patience_s=1.0):
    """What arrives of `data`, sent at full speed."""
    thread = threading.Thread(target=sender.send, args=(data, time.monotonic() + 60))
    thread.start()
    got = receive(receiver, 2 * len(data), patience_s)
    thread.join()
    return got


def noise(size, seed=1):
    return Damage(LineSpec(115200), LineFaults(), str(seed)).garbled(size)


@pytest.mark.parametrize("baud", [115200, 921600, 3000000])
def test_the_rate_is_a_uarts_to_a_part_in_two_hundred(baud):
    for _ in range(5):  # a busy machine takes the processor from the line's process for longer than its buffer lasts
        took_s, late_s = transfer_s(baud, size := baud // 10 * 2)  # two seconds
        if is_right := took_s == pytest.approx(10 * size / baud, abs=0.01 + late_s):
            break
    assert is_right, (took_s, late_s)


def transfer_s(baud, size):
    """How long so many bytes take from the first on, and by how much the line was late, or this thread at reading."""
    with Ends(LineSpec(baud, 0.001)) as ends:
        thread = threading.Thread(target=ends.host.send, args=(noise(size), time.monotonic() + 60))
        thread.start()
        got = first = ends.device.read(20)
        start_s = now_s = time.monotonic()
        longest_s = 0.0
        while len(got) < size and (more := ends.device.read(2)):
            got, before_s, now_s = got + more, now_s, time.monotonic()
            longest_s = max(longest_s, now_s - before_s)
        thread.join()
    report = ends.line.report["to_device"]
    assert got == noise(size) or report["overrun_bytes"]
    return now_s - start_s + 10 * len(first) / baud, max(report["latest_s"], longest_s - 0.002)


def test_both_directions_run_at_the_full_rate_at_once():
    for _ in range(5):  # as above
        got, took_s, report = both_ways(noise(92160))
        assert got == [noise(92160)] * 2 or any(each["overrun_bytes"] for each in report)
        if took_s < 1.2 + max(each["latest_s"] for each in report) and got[0] == got[1]:
            break
    assert got == [noise(92160)] * 2
    assert took_s < 1.5 + max(each["latest_s"] for each in report)  # 2 s one after the other


def both_ways(data):
    """What arrives of it at either end, after how long at most, and the line's report of either way."""
    with Ends(LineSpec(921600, 0.016)) as ends:
        start_s, got, took_s = time.monotonic(), [], []

        def one(sender, receiver):
            thread = threading.Thread(target=sender.send, args=(data, time.monotonic() + 60))
            thread.start()
            got.append(receive(receiver, len(data)))
            took_s.append(time.monotonic() - start_s)
            thread.join()

        other = threading.Thread(target=one, args=(ends.device, ends.host))
        other.start()
        one(ends.host, ends.device)
        other.join()
    return got, max(took_s), [ends.line.report[way] for way in ("to_device", "to_host")]


@pytest.mark.parametrize(("baud", "latency_s"), [(115200, 0.0), (115200, 0.016), (1200, 0.001)])
def test_a_byte_takes_its_ten_bits_and_the_delay(baud, latency_s):
    with Ends(LineSpec(baud, latency_s)) as ends:
        took_s = []
        expected_s = 10 / baud + latency_s
        while len(took_s) < 10 or (min(took_s) >= expected_s + 0.002 and len(took_s) < 200):  # of a busy machine
            start_s = time.monotonic()
            ends.device.write(b"x")
            assert ends.host.read(20) == b"x"
            took_s.append(time.monotonic() - start_s)
    late_s = max(ends.line.report[way]["latest_s"] for way in ("to_device", "to_host"))
    assert expected_s <= min(took_s) < expected_s + 0.002 + late_s


def test_the_line_takes_little_of_the_processor():
    with Ends(LineSpec(921600, 0.001)) as ends:
        pass_through(ends.host, ends.device, noise(184320))
    assert ends.line.report["cpu_s"] < 0.25 * ends.line.report["duration_s"]


def test_an_idle_line_takes_none_of_it():
    with Ends(LineSpec(115200)) as ends:
        time.sleep(1)
    assert ends.line.report["cpu_s"] < 0.03


def test_every_byte_value_passes_both_ways_and_nothing_is_echoed():
    with Ends(LineSpec(921600)) as ends:
        for sender, receiver in ((ends.host, ends.device), (ends.device, ends.host)):
            sender.send(bytes(range(256)) * 2, time.monotonic() + 20)
            assert receive(receiver, 512) == bytes(range(256)) * 2
            assert sender.read(0.05) == b""


def test_a_writer_waits_for_the_line():
    with Ends(LineSpec(9600)) as ends:
        taken, refused, start_s = 0, 0, time.monotonic()
        while time.monotonic() < start_s + 1.0:
            taken += (more := ends.host.write(bytes(256)))
            refused += more == 0
            time.sleep(0.001)
        assert 960 < taken < 960 * (time.monotonic() - start_s) + BUFFER_BYTES + PTY_BYTES
        assert refused > 0


def test_a_program_that_blocks_in_a_write_goes_on_when_there_is_room():
    with Ends(LineSpec(115200)) as ends:
        fd = os.open(ends.line.host_port, os.O_WRONLY | os.O_NOCTTY)
        writer = threading.Thread(target=lambda: [os.write(fd, noise(4000, i)) for i in range(10)])
        start_s = time.monotonic()
        writer.start()
        got = receive(ends.device, 40000)
        writer.join()
        os.close(fd)
    assert got == b"".join(noise(4000, i) for i in range(10))
    assert time.monotonic() - start_s > 40000 / 11520


def test_polling_says_whether_there_is_room():
    with Ends(LineSpec(1200)) as ends:
        fd = os.open(ends.line.host_port, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        assert select.select([], [fd], [], 0)[1]
        taken = 0
        while select.select([], [fd], [], 0.1)[1]:
            assert taken < 4 * (BUFFER_BYTES + PTY_BYTES)
            with contextlib.suppress(BlockingIOError):  # the line may stop us between the two calls
                taken += os.write(fd, bytes(1024))
        os.close(fd)


def test_a_port_may_be_closed_and_opened_again():
    with Ends(LineSpec(115200)) as ends:
        for round_ in range(5):
            device = ends.device
            device.close()
            ends.device = SerialPort(ends.line.device_port, 115200, "device")
            ends.host.send(b"again %d" % round_, time.monotonic() + 20)
            assert receive(ends.device, 7) == b"again %d" % round_


def test_what_nobody_reads_is_lost_in_the_end_and_the_line_lives():
    with Ends(LineSpec(3000000)) as ends:
        ends.host.send(bytes(150_000), time.monotonic() + 20)
        while ends.device.read(1.0):
            pass
        ends.host.send(b"still here", time.monotonic() + 20)
        got = b""
        while not got.endswith(b"still here") and (more := ends.device.read(20)):
            got += more
        assert got.endswith(b"still here")
    assert ends.line.report["to_device"]["overrun_bytes"] > 0


def test_a_wrong_baud_rate_gives_garbage():
    with Ends(LineSpec(115200)) as ends:
        ends.device.close()
        ends.device = SerialPort(ends.line.device_port, 9600, "device")
        ends.host.send(b"hello there, device", time.monotonic() + 20)
        got = receive(ends.device, 19)
    assert len(got) == 19
    assert got != b"hello there, device"


def test_a_rate_that_the_system_has_no_code_for_works_too():
    with Ends(LineSpec(250_001)) as ends:
        fd = os.open(ends.line.host_port, os.O_RDWR | os.O_NOCTTY)
        assert not termios.tcgetattr(fd)[3] & (termios.ECHO | termios.ICANON)
        os.write(fd, b"hi")
        assert receive(ends.device, 2) == b"hi"
        os.close(fd)


@pytest.mark.parametrize(
    ("line", "faults", "counted"),
    [
        (LineSpec(460800, bit_error_rate=1e-3), None, "flipped_bits"),
        (LineSpec(460800, byte_loss_rate=1e-2), None, "lost_bytes"),
        (LineSpec(460800), LineFaults(duplication_rate=1e-2), "doubled_bytes"),
        (LineSpec(460800), LineFaults(noise_rate=1e-2), "invented_bytes"),
    ],
    ids=["flips", "losses", "doubles", "noise"],
)
def test_faults_are_as_many_as_asked_for_and_repeat_under_a_seed(line, faults, counted):
    data = noise(20000)
    arrived, counts = [], []
    for seed in (1, 1, 2):
        with Ends(line, faults, seed) as ends:
            arrived.append(pass_through(ends.host, ends.device, data, 0.7))
        counts.append(ends.line.report["to_device"])
    assert arrived[0] == arrived[1] != arrived[2]
    assert all(count.pop("latest_s") >= 0 for count in counts)  # the machine's, and no fault of the line's
    assert counts[0] == counts[1]
    units = 8 * len(data) if counted == "flipped_bits" else len(data)
    rate = line.bit_error_rate or 1e-2
    assert counts[0][counted] == pytest.approx(units * rate, rel=0.35)
    added = counts[0]["doubled_bytes"] + counts[0]["invented_bytes"] - counts[0]["lost_bytes"]
    assert len(arrived[0]) == len(data) + added
    if counted == "flipped_bits":
        flipped = sum((a ^ b).bit_count() for a, b in zip(arrived[0], data, strict=True))
        assert flipped == counts[0]["flipped_bits"]


def test_a_stall_delays_and_loses_nothing():
    data = noise(20000)
    with Ends(LineSpec(921600), LineFaults(stall_rate=1e-4, stall_s=0.3), seed=5) as ends:
        start_s = time.monotonic()
        assert receive_all(ends, data) == data
        took_s = time.monotonic() - start_s
    stalls = ends.line.report["to_device"]["stalls"]
    assert stalls >= 1
    assert took_s > 0.3 * stalls


def receive_all(ends, data):
    thread = threading.Thread(target=ends.host.send, args=(data, time.monotonic() + 60))
    thread.start()
    got = receive(ends.device, len(data), 3.0)
    thread.join()
    return got


def test_a_disconnect_loses_what_arrives_for_a_while_and_the_line_comes_back():
    data = noise(50000)
    with Ends(LineSpec(921600), LineFaults(disconnect_rate=5e-5, disconnect_s=0.1), seed=3) as ends:
        got = pass_through(ends.host, ends.device, data, 0.5)
    report = ends.line.report["to_device"]
    assert report["disconnects"] >= 1
    assert report["bytes_while_disconnected"] > 0
    assert len(got) == len(data) - report["bytes_while_disconnected"]


def test_the_process_ends_when_its_parent_lets_go_or_dies():
    script = (
        "import sys, time; from kit.device.line import EmulatedLine; from kit.spec.types import LineSpec\n"
        "line = EmulatedLine(LineSpec(115200)); print(line.process_id(), flush=True); time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as parent:
        process_id = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    assert wait_gone(process_id)


def test_closing_twice_is_fine_and_ends_the_process():
    line = EmulatedLine(LineSpec(115200))
    line.close()
    line.close()
    assert wait_gone(line.process_id())
    assert line.report["to_host"]["carried_bytes"] == 0


def run_module(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "kit.device.line", *arguments], stdin=subprocess.DEVNULL, capture_output=True,
        text=True, timeout=30, check=False, cwd=Path(__file__).parents[2],
    )  # fmt: skip


def test_the_command_prints_its_ports_and_at_the_end_a_report():
    done = run_module("--baud", "115200", "--latency", "1ms", "--byte-loss-rate", "0.01", "--seed", "4")
    assert done.returncode == 0, done.stderr
    ports, report = (json.loads(line) for line in done.stdout.splitlines())
    assert set(ports) == {"host", "device"}
    assert {"to_device", "to_host", "duration_s", "cpu_s"} <= set(report)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--latency", "1ms"], "--baud"),
        (["--baud", "10"], "from 50 to 20000000"),
        (["--baud", "fast"], "--baud"),
        (["--baud", "115200", "--latency", "5"], "a time"),
        (["--baud", "115200", "--noise-rate", "0.5"], "from 0 to 0.1"),
        (["--baud", "115200", "--noise-rate", "nan"], "from 0 to 0.1"),
    ],
    ids=["none", "low", "text", "unit", "rate", "nan"],
)
def test_the_command_says_what_is_wrong_in_short(arguments, said):
    done = run_module(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr) < 3000


def test_a_line_that_cannot_start_says_why():
    with pytest.raises(LinkError, match=r"did not start: .*from 50"):
        EmulatedLine(LineSpec(1))


@pytest.mark.parametrize("probability", [0.0, 1e-4, 0.05, 0.5])
def test_chance_strikes_as_often_as_it_should_whatever_the_pieces(probability):
    units, sizes = 200_000, [1, 7, 4096, 100]
    whole = list(Chance(probability, "s").within(units))
    pieces, chance, start = [], Chance(probability, "s"), 0
    for piece in range(100_000):
        size = min(sizes[piece % len(sizes)], units - start)
        pieces += [start + at for at in chance.within(size)]
        start += size
    assert pieces == whole
    assert len(whole) == pytest.approx(units * probability, rel=0.25, abs=1)
    assert whole == sorted(set(whole))


def test_damage_does_not_depend_on_how_the_stream_is_cut():
    line, faults = LineSpec(115200, 0, 0.01, 0.02), LineFaults(duplication_rate=0.02, noise_rate=0.02)
    data = noise(5000)
    whole = Damage(line, faults, "7").apply(data)
    cut = Damage(line, faults, "7")
    assert b"".join(cut.apply(data[at : at + 13]) for at in range(0, len(data), 13)) == whole
    assert whole != data
    assert cut.counts() == {name: count for name, count in cut.counts().items() if count > 0}


def test_garbage_takes_every_value():
    assert len(Counter(noise(20000))) == 256
