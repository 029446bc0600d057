"""The emulated arm64 device without its root folder: what it is told to be, what it would run, what it refuses."""

import fcntl
import json
import os
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest

from kit.device import LINKS, open_device
from kit.device import aarch64_root as root_of
from kit.device.aarch64 import cpu_of, emulated, enter, open_aarch64, setup
from kit.errors import DeviceError, SpecError
from kit.spec.device import load_device
from tests import device_kit as kits

CORTEX_A76 = (0x119FFB, 0x0, 0x414FD0B1)  # what QEMU 7.2's -cpu cortex-a76 says: AT_HWCAP, AT_HWCAP2, MIDR_EL1
CORTEX_A53 = (0x8FB, 0x0, 0x410FD034)


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    """A user's data folder with nothing in it."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path / "data"


def spec(url="aarch64:cortex-a76"):
    return kits.device_spec(name="arm", link=url, timing_is_real=False, emulated=("processor",))


def pretend(root, **made):
    """A root folder that says what it was made for, and holds nothing else."""
    root.mkdir(parents=True)
    (root / "edgeproof.json").write_text(json.dumps(made))


class TestTheDeviceFile:
    def test_it_names_what_is_emulated_and_claims_no_time(self):
        device = load_device("arm64-emulated")
        assert {"device", "processor", "memory"} <= set(device.emulated)
        assert not device.timing_is_real
        assert device.meter is device.battery is None
        assert cpu_of(device) == "cortex-a76"
        assert "aarch64" in LINKS

    def test_until_it_is_set_up_it_says_how(self):
        with pytest.raises(DeviceError, match=r"cortex-a76 is not set up$") as caught:
            open_device(load_device("arm64-emulated"))
        assert caught.value.next_step == "run: edgeproof devices setup arm64-emulated"
        assert caught.value.where == "device arm64-emulated"
        assert caught.value.exit_code == 4

    def test_one_for_another_runtime_is_not_used(self):
        pretend(root_of.root_folder("cortex-a76"), onnxruntime="0.9", numpy="1.0", python="3.11", layout="1")
        with pytest.raises(DeviceError, match="not set up for the onnxruntime installed here") as caught:
            open_aarch64(spec())
        assert "devices setup" in caught.value.next_step

    @pytest.mark.parametrize(
        "text", ["", "{", "[]", "null", '{"onnxruntime": 1}'], ids=["0", "cut", "list", "null", "int"]
    )
    def test_a_damaged_one_is_not_used(self, text):
        root = root_of.root_folder("cortex-a76")
        root.mkdir(parents=True)
        (root / "edgeproof.json").write_text(text)
        with pytest.raises(DeviceError, match="not set up"):
            open_aarch64(spec())


class TestProcessorName:
    @pytest.mark.parametrize(
        ("url", "cpu"), [("aarch64:", "cortex-a76"), ("aarch64:cortex-a53", "cortex-a53"), ("aarch64:max", "max")]
    )
    def test_of_the_url(self, url, cpu):
        assert cpu_of(spec(url)) == cpu

    @pytest.mark.parametrize("cpu", ["../../etc", "a b", "-cpu", "A76", "x" * 40, "a/b", "."])
    def test_no_path_and_no_option_passes_for_one(self, cpu):
        with pytest.raises(SpecError, match="is no name of a processor"):
            open_aarch64(spec(f"aarch64:{cpu}"))


class TestCommand:
    def test_qemu_python_inside_of_the_root(self):
        assert emulated("cortex-a53") == ["/usr/bin/qemu-aarch64-static", "-cpu", "cortex-a53", "/usr/bin/python3.11"]

    def test_a_user_enters_through_a_namespace_and_root_directly(self, monkeypatch):
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert enter(Path("/r"))[:3] == ["unshare", "--user", "--map-root-user"]
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        chroot, root = enter(Path("/r"))
        assert Path(chroot).name == "chroot"
        assert root == "/r"

    def test_a_relative_data_folder_is_ignored(self, monkeypatch):
        monkeypatch.setenv("XDG_DATA_HOME", "here")
        monkeypatch.setenv("HOME", "/home/somebody")
        assert root_of.root_folder("max") == Path("/home/somebody/.local/share/edgeproof/arm64/max")


class TestProcessorText:
    def test_every_field_a_runtime_reads(self):
        fields = dict(
            line.split("\t: ") for line in root_of.processor_text("cortex-a76", *CORTEX_A76).splitlines() if line
        )
        assert fields["CPU implementer"] == "0x41"
        assert fields["CPU part"] == "0xd0b"
        assert fields["CPU variant"] == "0x4"
        assert fields["CPU revision"] == "1"
        assert fields["CPU architecture"] == "8"
        assert fields["model name"] == "cortex-a76 (QEMU)"

    @pytest.mark.parametrize(("of", "has"), [(CORTEX_A76, True), (CORTEX_A53, False)], ids=["a76", "a53"])
    def test_no_instruction_is_claimed_that_the_processor_has_not(self, of, has):
        text = root_of.processor_text("x", *of)
        features = next(line for line in text.splitlines() if line.startswith("Features")).split(": ")[1].split()
        assert ("asimddp" in features) is has
        assert ("fphp" in features) is has
        assert {"fp", "asimd", "aes", "crc32"} <= set(features)
        assert "sve" not in features

    def test_the_second_word_of_capabilities(self):
        features = root_of.processor_text("max", 0, 1 << 1 | 1 << 13 | 1 << 14, 0).splitlines()[2]
        assert features == "Features\t: sve2 i8mm bf16"

    def test_it_ends_with_an_empty_line_as_the_kernel_s_does(self):
        assert root_of.processor_text("max", 0, 0, 0).endswith("\n\n")


class TestSetup:
    def test_without_its_programs_it_names_them_and_the_command(self, monkeypatch, data):
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(DeviceError, match="mmdebstrap and qemu-aarch64-static") as caught:
            setup()
        assert caught.value.next_step == "sudo apt-get install qemu-user-static mmdebstrap"
        assert not data.exists()

    def test_what_is_set_up_is_left_alone_and_said(self):
        root = root_of.root_folder("cortex-a76")
        made = {name: version(name) for name in ("onnxruntime", "numpy")}
        pretend(root, **made, python="3.11", layout="1")
        told = []
        assert setup(told.append) == root
        assert told == [f"the emulated cortex-a76 is already set up in {root}"]
        assert [each.name for each in root.iterdir()] == ["edgeproof.json"]

    def failing(self, monkeypatch, tmp_path, script):
        """Programs of which the first one does what `script` says."""
        programs = tmp_path / "programs"
        programs.mkdir()
        for name in ("mmdebstrap", "qemu-aarch64-static"):
            (programs / name).write_text(f"#!/bin/sh\n{script}\n")
            (programs / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")

    def test_a_program_that_fails_is_told_in_its_own_words_and_leaves_nothing(self, monkeypatch, tmp_path, data):
        self.failing(
            monkeypatch, tmp_path, "echo 'I: fine' >&2; echo 'E: no route to the mirror' >&2; echo 'I: bye' >&2; exit 9"
        )
        with pytest.raises(DeviceError, match="mmdebstrap ended with status 9: E: no route to the mirror") as caught:
            setup()
        assert "check the network" in caught.value.next_step
        assert [each.name for each in (data / "edgeproof/arm64").iterdir()] == [".cortex-a76.lock"]

    def test_one_that_fails_leaves_what_was_there(self, monkeypatch, tmp_path):
        root = root_of.root_folder("cortex-a76")
        pretend(root, onnxruntime="0.9")
        self.failing(monkeypatch, tmp_path, "exit 1")
        with pytest.raises(DeviceError, match="status 1"):
            setup()
        assert json.loads((root / "edgeproof.json").read_text()) == {"onnxruntime": "0.9"}

    def test_what_a_killed_one_left_is_removed(self, monkeypatch, tmp_path, data):
        left = data / "edgeproof/arm64/.cortex-a76.new"
        (left / "usr").mkdir(parents=True)
        self.failing(monkeypatch, tmp_path, "exit 1")
        with pytest.raises(DeviceError):
            setup()
        assert not left.exists()

    def test_one_at_a_time(self, monkeypatch, tmp_path, data):
        self.failing(monkeypatch, tmp_path, "exit 1")
        (data / "edgeproof/arm64").mkdir(parents=True)
        with (data / "edgeproof/arm64/.cortex-a76.lock").open("w") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            with pytest.raises(DeviceError, match="being set up already"):
                setup()

    def test_mirrors_are_those_of_this_machine_s_own_debian(self, tmp_path):
        theirs, ours = tmp_path / "debian.sources", tmp_path / "ubuntu.list"
        theirs.write_text("Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\n")
        ours.write_text("deb http://mirror.example/ubuntu noble main\n")
        assert root_of._names_suite(theirs)
        assert not root_of._names_suite(ours)
        assert not root_of._names_suite(tmp_path / "none")


@pytest.mark.skipif(not shutil.which("qemu-aarch64-static"), reason="needs qemu-aarch64-static (qemu-user-static)")
def test_the_emulator_knows_every_processor_that_ships():
    known = subprocess.run(["qemu-aarch64-static", "-cpu", "help"], capture_output=True, text=True).stdout
    assert cpu_of(load_device("arm64-emulated")) in known.split()
