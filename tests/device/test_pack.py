"""The agent as one file: the same everywhere, complete, and at work in an environment as bare as a board's."""

import ast
import contextlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import kit
from kit.agent.state import agent_digest
from kit.device import open_device
from kit.device.keys import make_key
from kit.device.pack import MINIMUM_PYTHON, agent_files, pack_agent
from kit.digest import digest_file
from kit.errors import StoreError
from tests import device_kit as kits
from tests.tcp_agent import tcp_agent

ROOT = Path(kit.__file__).parent
HOST_ONLY = ("cli", "device", "pipeline", "spec", "model", "report", "judge", "store", "measure", "meter", "stats")


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    path = tmp_path_factory.mktemp("pack") / "agent.pyz"
    return path, pack_agent(path)


@pytest.fixture(scope="module")
def board(tmp_path_factory, packed):
    """The words that start the file where Python has only numpy and onnxruntime: no site, no other package."""
    packages = tmp_path_factory.mktemp("board")
    installed = Path(np.__file__).parents[1], Path(onnxruntime.__file__).parents[1]
    for folder in (installed[0] / "numpy", installed[0] / "numpy.libs", installed[1] / "onnxruntime"):
        if folder.is_dir():
            (packages / folder.name).symlink_to(folder)
    return ("env", "-i", f"PYTHONPATH={packages}", sys.executable, "-S", "-P", str(packed[0]))


class TestFile:
    def test_it_is_the_same_each_time_and_its_digest_is_told(self, packed, tmp_path):
        path, digest = packed
        other = tmp_path / "deeper" / "other.pyz"
        other.parent.mkdir()
        assert pack_agent(other) == digest == digest_file(path)
        assert other.read_bytes() == path.read_bytes()

    def test_another_time_zone_umask_and_folder_change_nothing(self, packed, tmp_path):
        code = "import os, sys; os.umask(0o077); from kit.device.pack import pack_agent; print(pack_agent(sys.argv[1]))"
        environment = os.environ | {"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT.parent)}
        words = [sys.executable, "-c", code, str(tmp_path / "a.pyz")]
        done = subprocess.run(words, env=environment, cwd="/", capture_output=True, text=True, check=True)
        assert done.stdout.strip() == packed[1]

    def test_nothing_in_it_tells_where_or_when_it_was_made(self, packed):
        with zipfile.ZipFile(packed[0]) as archive:
            assert archive.testzip() is None
            infos = archive.infolist()
            assert {each.date_time for each in infos} == {(1980, 1, 1, 0, 0, 0)}
            names = [each.filename for each in infos]
            assert names == ["__main__.py", *sorted(names[1:])]
            assert len(set(names)) == len(names)
        assert str(ROOT.parent).encode() not in packed[0].read_bytes()

    def test_it_holds_the_agent_and_nothing_of_the_host(self, packed):
        with zipfile.ZipFile(packed[0]) as archive:
            names = set(archive.namelist())
            for name in names - {"__main__.py"}:
                assert archive.read(name) == (ROOT.parent / name).read_bytes()
        agent = {f"kit/{each.relative_to(ROOT).as_posix()}" for each in (ROOT / "agent").glob("*.py")}
        assert agent < names
        assert {"kit/__init__.py", "kit/errors.py", "kit/digest.py", "kit/wire/frame.py"} < names
        assert not [name for name in names if name.split("/")[1:2] and name.split("/")[1] in HOST_ONLY]

    def test_every_import_of_this_package_in_it_is_in_it(self):
        files = set(agent_files())
        for file in files:
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kit"):
                    place = ROOT.parent / node.module.replace(".", "/")
                    assert {place.with_suffix(".py"), place / "__init__.py"} & files, f"{file.name}: {node.module}"

    def test_it_can_be_started_by_its_name(self, packed):
        assert packed[0].read_bytes().startswith(b"#!/usr/bin/env python3\n")
        assert os.access(packed[0], os.X_OK)

    def test_it_replaces_an_older_one_whole_and_leaves_nothing_beside_it(self, packed, tmp_path):
        path = tmp_path / "agent.pyz"
        path.write_bytes(b"older" * 100_000)
        assert pack_agent(path) == packed[1]
        assert path.read_bytes() == packed[0].read_bytes()
        assert list(tmp_path.iterdir()) == [path]

    def test_where_it_cannot_be_written(self, tmp_path):
        (tmp_path / "folder").mkdir()
        for path in (tmp_path / "no" / "agent.pyz", tmp_path / "folder"):
            with pytest.raises(StoreError, match="cannot write the agent") as caught:
                pack_agent(path)
            assert caught.value.next_step
        assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def started(packed, *words, before="", **environment):
    code = f"import sys, runpy; {before}sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-S", "-P", "-c", code, str(packed), *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


class TestRefusals:
    @pytest.mark.parametrize("version", [(2, 7, 18), (3, 6, 9), (3, 10, 12)])
    def test_an_older_python_says_what_is_needed(self, packed, version):
        done = started(packed[0], "--stdio", before=f"sys.version_info = {version}; ")
        needed, found = (".".join(map(str, each[:2])) for each in (MINIMUM_PYTHON, version))
        assert done.returncode == 1
        assert done.stderr == f"the edgeproof agent needs Python {needed} or newer; this is {found}\n"

    def test_an_older_python_can_read_what_says_so(self, packed):
        """No syntax newer than Python 3.0; what a Python 2 would stumble over is not in it either."""
        source = zipfile.ZipFile(packed[0]).read("__main__.py").decode("ascii")
        ast.parse(source, feature_version=(3, 4))
        assert "print" not in source
        assert 'f"' not in source

    def test_a_board_without_the_packages_is_told_the_command(self, packed):
        done = started(packed[0], "--stdio")
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert "needs numpy and onnxruntime: python3 -m pip install numpy onnxruntime" in done.stderr

    def test_the_minimum_is_the_package_s_own(self):
        text = (ROOT.parent / "pyproject.toml").read_text()
        assert f'requires-python = ">={".".join(map(str, MINIMUM_PYTHON))}"' in text


class TestAtWork:
    def test_behind_its_standard_streams_with_a_worker_of_its_own(self, board):
        with contextlib.closing(open_device(kits.device_spec(command=(*board, "--stdio")))) as device:
            digest, inputs = device.deploy(kits.linear()), kits.rows(20)
            scores = device.predict(digest, inputs, output=None, exact=False)
            np.testing.assert_allclose(scores, inputs @ kits.weights(), rtol=1e-4, atol=1e-5)
            memory = device.measure_memory(digest, inputs, sessions=1)
            assert memory is not None
            assert (memory.peak_bytes > 0).all()
            assert len(device.time_inferences(digest, inputs, count=20, min_s=0).samples_ns) == 20

    def test_it_is_known_to_be_the_same_agent(self, board):
        with contextlib.closing(open_device(kits.device_spec(command=(*board, "--stdio")))) as device:
            assert device.identify().agent_digest == agent_digest()
            assert device.identify().agent_version == kit.__version__

    def test_over_tcp_with_a_key(self, board, tmp_path):
        key = tmp_path / "scanner.key"
        make_key(key)
        with tcp_agent(tmp_path, "--key", str(key), command=board) as (url, _):
            spec = kits.device_spec(link=url, key=str(key))
            with contextlib.closing(open_device(spec)) as device:
                assert (
                    device.predict(device.deploy(kits.linear()), kits.rows(3), output=None, exact=False).shape[0] == 3
                )

    def test_it_explains_itself(self, board):
        done = subprocess.run([*board, "--help"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0
        for word in ("--stdio", "--tcp", "--serial", "--key"):
            assert word in done.stdout
