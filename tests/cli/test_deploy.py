"""`edgeproof deploy` as its users meet it, and its line of progress."""

import errno
import io
import json
import os
import pty
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kit.cli import transfer as transfers
from kit.cli.transfer import Transfer
from kit.digest import digest_file
from kit.spec.device import load_device
from tests import device_kit
from tests.cli.words import device_file, edgeproof, environment, is_for_people
from tests.tcp_agent import tcp_agent


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(device_kit.heavy(200_000))
    return path


class TestDeploy:
    def test_only_what_is_not_there_is_sent(self, tmp_path: Path, model: Path) -> None:
        size = model.stat().st_size
        first, second = (
            json.loads(edgeproof("deploy", model, "--device", "local", "--json", home=tmp_path).stdout) for _ in "12"
        )
        assert first["schema"] == "edgeproof/deployment/1"
        assert first["digest"] == second["digest"] == digest_file(model)
        assert (first["size_bytes"], first["had_bytes"], first["sent_bytes"]) == (size, 0, size)
        assert first["line_bytes"] > size
        assert (second["had_bytes"], second["sent_bytes"]) == (size, 0)
        assert second["line_bytes"] < 10_000

    def test_what_it_says_to_people(self, tmp_path: Path, model: Path) -> None:
        done = edgeproof("deploy", model, "--device", "subprocess:", home=tmp_path)
        assert done.returncode == 0
        lines = done.stdout.splitlines()
        assert lines[0] == "net.onnx is on subprocess:: 200 kB, digest verified there"
        assert lines[1] == f"digest  {digest_file(model)}"
        assert re.fullmatch(r"sent    200 kB of 200 kB in \S+ m?s, \S+ [kMG]B/s", lines[2])
        assert is_for_people(done.stdout)
        assert done.stderr == "", "a moment needs no progress off a terminal"
        again = edgeproof("deploy", model, "--device", "subprocess:", home=tmp_path)
        assert again.stdout.splitlines()[2] == "sent    nothing: it was there already"

    def test_an_emulated_device_is_named_so(self, tmp_path: Path, model: Path) -> None:
        done = edgeproof("deploy", model, "--device", "watch-emulated", home=tmp_path)
        assert done.stdout.startswith("EMULATED: device, meter, battery\n")

    def test_what_compresses_is_compressed_on_a_slow_line(self, tmp_path: Path) -> None:
        name = device_file(
            tmp_path, "slow", 'url = "subprocess:"', "[emulate]", "baud = 115200", emulated='"device", "link"'
        )
        path = tmp_path / "zeros.onnx"
        zeros = (device_kit.np.zeros(50_000, "f4"),)
        path.write_bytes(device_kit.linear(padding=zeros[0]))
        said = json.loads(edgeproof("deploy", path, "--device", name, "--json", home=tmp_path).stdout)
        assert said["line_bytes"] < said["size_bytes"] / 10
        assert said["duration_s"] < said["size_bytes"] / 11520 / 2

    @pytest.mark.parametrize(
        ("words", "code", "says"),
        [
            (["net.onnx"], 2, "--device"),
            (["none.onnx", "--device", "local"], 2, "there is no such file"),
            (["text.onnx", "--device", "local"], 2, "not an ONNX model"),
            (["bad.pkl", "--device", "local"], 2, "a pickle"),
            (["cut.onnx", "--device", "local"], 2, "does not parse"),
            (["net.onnx", "--device", "locl"], 2, 'did you mean "local"?'),
            (["net.onnx", "--device", "tcp://127.0.0.1:1"], 4, "no agent listens"),
            (["net.onnx", "--device", "/dev/ttyNOT0"], 4, "there is no port"),
            (["net.onnx", "--device", "small"], 4, "over this agent's limit of 64000"),
        ],
    )
    def test_what_cannot_be_is_one_error_with_what_to_do(
        self, tmp_path: Path, model: Path, words: list[str], code: int, says: str
    ) -> None:
        device_file(tmp_path, "small", 'url = "subprocess:"', "[emulate]", 'storage = "64 kB"', emulated='"device"')
        (tmp_path / "text.onnx").write_text("hello")
        (tmp_path / "bad.pkl").write_bytes(b"\x80\x04N.")
        (tmp_path / "cut.onnx").write_bytes(model.read_bytes()[:1000])
        done = edgeproof("deploy", *words, home=tmp_path)
        assert (done.returncode, done.stdout) == (code, "")
        assert says in done.stderr
        assert "  fix " in done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) <= 4

    def test_a_device_that_another_host_has_says_so(self, tmp_path: Path, model: Path) -> None:
        from kit.device import open_device

        with tcp_agent(tmp_path) as (url, _):
            holder = open_device(load_device(url))
            try:
                done = edgeproof("deploy", model, "--device", url, home=tmp_path)
            finally:
                holder.close()
            assert done.returncode == 4
            assert "busy" in done.stderr
            assert edgeproof("deploy", model, "--device", url, home=tmp_path).returncode == 0, "and is usable after"


class TestTransfer:
    def test_share_rate_and_time_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [100.0]
        monkeypatch.setattr(transfers.time, "monotonic", lambda: now[0])
        transfer = Transfer("net.onnx", stream=io.StringIO())
        assert transfer.bytes_per_s() is None
        for done in range(0, 500_001, 100_000):
            transfer(done, 1_000_000)
            now[0] += 1.0
        assert transfer.bytes_per_s() == pytest.approx(100_000)
        assert transfer.line(500_000, 1_000_000, 80) == (
            "██████████░░░░░░░░░░  50 %  500 kB of 1 MB  100 kB/s  0:05 left  net.onnx"
        )
        assert len(transfer.line(500_000, 1_000_000, 40)) == 39

    def test_the_rate_follows_the_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = [0.0]
        monkeypatch.setattr(transfers.time, "monotonic", lambda: now[0])
        transfer, done = Transfer("m", quiet=True), 0
        for second in range(60):
            now[0], done = float(second), done + (1000 if second < 30 else 100)
            transfer(done, 10**6)
        assert transfer.bytes_per_s() == pytest.approx(100)

    def test_a_full_bar_is_only_drawn_when_all_is_there(self) -> None:
        transfer = Transfer("m", quiet=True)
        assert " 99 %" in transfer.line(999_999, 1_000_000, 80)
        assert "100 %" in transfer.line(1_000_000, 1_000_000, 80)

    def test_off_a_terminal_a_line_every_few_seconds_and_what_was_resumed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now, stream = [0.0], io.StringIO()
        monkeypatch.setattr(transfers.time, "monotonic", lambda: now[0])
        transfer = Transfer("m", stream=stream)
        for second in range(12):
            now[0] = float(second)
            transfer(412_000 + 1000 * second, 10**6)
        transfer.close()
        lines = stream.getvalue().splitlines()
        assert lines[0] == "resumed at 412 kB of 1 MB"
        assert len(lines) == 3
        assert "\r" not in stream.getvalue()

    @pytest.mark.parametrize(("had", "quiet"), [(0, False), (10**6, False), (5, True)])
    def test_nothing_is_said_where_there_is_nothing_to_say(self, had: int, quiet: bool) -> None:
        stream = io.StringIO()
        transfer = Transfer("m", stream=stream, quiet=quiet)
        transfer(had, 10**6)
        transfer.close()
        assert stream.getvalue() == ""

    def test_on_a_terminal_one_line_is_redrawn_and_removed(self, tmp_path: Path) -> None:
        name = device_file(
            tmp_path, "line", 'url = "subprocess:"', "[emulate]", "baud = 921600", emulated='"device", "link"'
        )
        (tmp_path / "net.onnx").write_bytes(device_kit.heavy(200_000))
        shown = self._on_a_terminal(["deploy", "net.onnx", "--device", name, "--json"], tmp_path)
        frames = shown.split("\r\x1b[K")
        shares = [int(found[1]) for frame in frames if (found := re.search(r"(\d+) %", frame))]
        assert len(shares) >= 3
        assert shares == sorted(shares)
        assert any("kB/s" in frame and "left" in frame for frame in frames)
        assert "\n" not in shown
        assert frames[-1] == "", "the line is removed at the end"

    def _on_a_terminal(self, words: list[str], home: Path) -> str:
        """What the command writes to stderr where that is a terminal."""
        ours, theirs = pty.openpty()
        said: list[bytes] = []

        def read() -> None:
            try:
                while data := os.read(ours, 4096):
                    said.append(data)
            except OSError as error:
                assert error.errno == errno.EIO  # noqa: PT017  # its other end was closed

        with subprocess.Popen(
            [sys.executable, "-m", "kit", *words], cwd=home, env=environment(home) | {"TERM": "xterm"},
            stdout=subprocess.PIPE, stderr=theirs,
        ) as process:  # fmt: skip
            os.close(theirs)
            reader = threading.Thread(target=read)
            reader.start()
            process.communicate(timeout=60)
            reader.join(10)
        os.close(ours)
        assert process.returncode == 0
        return b"".join(said).decode()


def test_the_clock_is_real() -> None:
    """Without a frozen clock the rate is of this moment."""
    transfer = Transfer("m", quiet=True)
    transfer(0, 10**6)
    time.sleep(0.05)
    transfer(5000, 10**6)
    assert 5000 < (transfer.bytes_per_s() or 0) < 200_000
