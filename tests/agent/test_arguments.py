"""What an agent is started with: out of range or malformed, it is one line and status 2, before anything is opened."""

import subprocess
import sys

import pytest

from kit.device.subprocess import agent_environment


def started(*words, folder):
    """What an agent that is started so says, and its status."""
    command = [sys.executable, "-m", "kit.agent", "--cache", str(folder / "cache"), *words]
    done = subprocess.run(
        command, env=agent_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30
    )
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--lease", value) for value in ("inf", "nan", "1e300", "0", "-1", "0.1", "soon")),
        *(("--cache-bytes", value) for value in ("-5", "0", "1e9", "9" * 30)),
        *(("--baud", value) for value in ("7", "-9600", "fast")),
    ],
)
def test_numbers_out_of_range(tmp_path, option, value):
    code, lines = started("--tcp", "127.0.0.1:0", f"{option}={value}", folder=tmp_path)
    assert code == 2
    assert len(lines) == 1
    assert lines[0].startswith(f"edgeproof agent: argument {option}: '{value}' is not from ")


@pytest.mark.parametrize("address", [":9701", "127.0.0.1", "127.0.0.1:", "127.0.0.1:²", "127.0.0.1:٣", "127.0.0.1:-1"])
def test_what_is_no_address(tmp_path, address):
    code, lines = started(f"--tcp={address}", folder=tmp_path)
    assert code == 2
    assert lines == [f"edgeproof agent: {address!a} is no address", "fix: write --tcp 127.0.0.1:7431, say"]


def test_no_way_to_serve_is_one_line(tmp_path):
    code, lines = started(folder=tmp_path)
    assert code == 2
    assert lines == ["edgeproof agent: one of the arguments --stdio --serial --tcp is required"]
