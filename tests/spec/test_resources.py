import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kit import resources
from kit.resources import resource_dir


def test_a_checkout_has_its_folders_at_its_root() -> None:
    root = Path(resources.__file__).resolve().parents[1]
    for kind in ("profiles", "devices"):
        assert resource_dir(kind) == root / kind
        assert list(resource_dir(kind).glob("*.toml"))


def test_a_wheel_has_them_beside_the_code(tmp_path: Path) -> None:
    package = tmp_path / "site" / "kit"
    shutil.copytree(Path(resources.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(resource_dir("profiles"), package / "data" / "profiles")
    code = "from kit.resources import resource_dir; print(resource_dir('profiles'))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "site", capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()) == package / "data" / "profiles"


def test_an_installation_that_lacks_them_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "_PACKAGE", tmp_path / "site" / "kit")
    with pytest.raises(FileNotFoundError, match="install edgeproof again"):
        resource_dir("profiles")
