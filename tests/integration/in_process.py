"""The command in the process of the tests."""

import subprocess
from pathlib import Path

import pytest

from kit.cli.app import main
from tests.integration.conftest import Edgeproof


@pytest.fixture
def edgeproof(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Edgeproof:
    """The command in this process, where every warning is an error."""
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(cwd)
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(words, int(ended.value.code or 0), out, err)

    return run
