"""`edgeproof agent` as its users meet it: a real process, its files, its two streams."""

import contextlib
import json
import os
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from kit.device import open_device
from kit.digest import digest_file
from kit.spec import load_device
from kit.wire.secure import Key
from tests import device_kit as kits
from tests import forked
from tests.cli.words import is_for_people
from tests.tcp_agent import tcp_agent

EDGEPROOF = (sys.executable, "-m", "kit")


def edgeproof(*words, cwd):
    environment = os.environ | {"NO_COLOR": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    return forked.run(list(words), cwd=cwd, env=environment, timeout=120)


@pytest.mark.parametrize("words", [(), ("pack",), ("key",), ("run",)])
def test_every_part_explains_itself_with_an_example(tmp_path, words):
    done = edgeproof("agent", *words, "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "Example" in done.stdout
    assert " ".join(("edgeproof agent", *words)) in done.stdout
    assert "..." not in done.stdout.partition("Commands:")[2]


class TestPack:
    def test_it_says_what_the_board_needs_and_how_it_is_reached(self, tmp_path):
        done = edgeproof("agent", "pack", "-o", "scanner.pyz", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert is_for_people(done.stdout)
        file = tmp_path / "scanner.pyz"
        assert digest_file(file) in done.stdout
        assert f"{file.stat().st_size / 1e3:.0f} kB" in done.stdout
        for word in (
            "Python 3.11",
            "numpy and onnxruntime",
            "python3 scanner.pyz --serial",
            "--tcp 0.0.0.0:7431 --key",
        ):
            assert word in done.stdout

    def test_the_device_files_that_it_shows_are_device_files(self, tmp_path):
        shown = edgeproof("agent", "pack", cwd=tmp_path).stdout.split("device file:\n")[1:]
        links = []
        for number, text in enumerate(shown):
            lines = [line for line in text.splitlines() if line.startswith(" " * 8)]
            path = tmp_path / f"{number}.toml"
            path.write_text("\n".join(lines))
            assert tomllib.loads(path.read_text())["device"]["name"] == "board"
            links.append(load_device(path).link)
        assert links == ["/dev/ttyUSB0", "tcp://HOST:7431", "ssh://USER@HOST", "adb:SERIAL"]

    def test_for_a_machine(self, tmp_path):
        done = edgeproof("agent", "pack", "--json", cwd=tmp_path)
        told = json.loads(done.stdout)
        assert told == {
            "schema": "edgeproof/agent-pack/1",
            "path": "agent.pyz",
            "digest": digest_file(tmp_path / "agent.pyz"),
            "size_bytes": (tmp_path / "agent.pyz").stat().st_size,
            "needs": {"python": "3.11", "packages": ["numpy", "onnxruntime"]},
        }

    def test_where_it_cannot_be_written(self, tmp_path):
        done = edgeproof("agent", "pack", "-o", "no/such/folder.pyz", cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert "cannot write the agent" in done.stderr
        assert "Traceback" not in done.stderr


class TestKey:
    def test_it_is_made_and_how_to_use_it_is_said(self, tmp_path):
        done = edgeproof("agent", "key", "-o", "scanner.key", cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        path = tmp_path / "scanner.key"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert Key(path).certificate
        assert "--key scanner.key" in done.stdout
        assert "PRIVATE" not in done.stdout

    def test_for_a_machine(self, tmp_path):
        done = edgeproof("agent", "key", "-o", "scanner.key", "--json", cwd=tmp_path)
        assert json.loads(done.stdout) == {"schema": "edgeproof/agent-key/1", "path": "scanner.key"}

    def test_one_that_exists_is_left_alone(self, tmp_path):
        (tmp_path / "scanner.key").write_text("precious")
        done = edgeproof("agent", "key", "-o", "scanner.key", "--json", cwd=tmp_path)
        assert done.returncode == 2
        assert "never overwritten" in json.loads(done.stdout)["error"]["what"]
        assert (tmp_path / "scanner.key").read_text() == "precious"

    def test_it_needs_a_name(self, tmp_path):
        done = edgeproof("agent", "key", cwd=tmp_path)
        assert done.returncode == 2
        assert "--output" in done.stderr


class TestRun:
    def test_over_tcp(self, tmp_path):
        with tcp_agent(tmp_path, command=(*EDGEPROOF, "agent", "run")) as (url, process):
            with contextlib.closing(open_device(kits.device_spec(link=url))) as device:
                assert device.conditions().utc
            process.terminate()
            process.wait(10)

    def test_behind_its_standard_streams(self):
        spec = kits.device_spec(command=(*EDGEPROOF, "agent", "run", "--stdio"))
        with contextlib.closing(open_device(spec)) as device:
            assert device.predict(device.deploy(kits.linear()), kits.rows(3), output=None, exact=False).shape[0] == 3

    def test_a_folder_named_as_the_package_is_not_run(self, tmp_path):
        (tmp_path / "kit" / "agent").mkdir(parents=True)
        for path in (tmp_path / "kit" / "__init__.py", tmp_path / "kit" / "agent" / "__main__.py"):
            path.write_text("raise SystemExit('an impostor ran')")
        installed = (str(Path(sys.executable).parent / "edgeproof"), "agent", "run", "--tcp", "nowhere")
        done = subprocess.run(installed, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False)
        assert "impostor" not in done.stderr
        assert "'nowhere' is no address" in done.stderr

    @pytest.mark.parametrize(
        ("words", "says"),
        [
            (("--carrier-pigeon",), "--carrier-pigeon"),
            ((), "how is it to be reached?"),
            (("--stdio", "--serial", "/dev/ttyS0"), "--stdio and --serial are two ways"),
            (("--tcp", "127.0.0.1:0", "--lease", "soon"), "'soon' is not a valid float"),
        ],
        ids=["unknown", "no way", "two ways", "no number"],
    )
    def test_a_wrong_option_is_told_as_by_every_command(self, tmp_path, words, says):
        done = edgeproof("agent", "run", *words, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error[usage]: ")
        assert says in done.stderr
        assert "  fix " in done.stderr

    def test_its_help_shows_the_agent_s_own_defaults_and_options(self, tmp_path):
        from kit.agent.cache import DEFAULT_CACHE_BYTES
        from kit.agent.command import LEASE_S, _parser

        text = edgeproof("agent", "run", "--help", cwd=tmp_path).stdout
        given = _parser().parse_args(["--stdio"])
        for shown in (f"{given.baud}", f"{LEASE_S:g}", f"{DEFAULT_CACHE_BYTES / 2**30:g} GiB"):
            assert f"[default: ({shown})]" in " ".join(text.split())
        for name in vars(given):
            assert f"--{name.replace('_', '-')}" in text

    def test_every_option_reaches_the_agent(self, tmp_path):
        more = ("--cache-bytes", "64000", "--lease", "1.5")
        with tcp_agent(tmp_path, *more, command=(*EDGEPROOF, "agent", "run")) as (_, process):
            words = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode().split("\0")
            assert {"--cache-bytes=64000", "--lease=1.5", f"--cache={tmp_path / 'cache'}"} <= set(words)
