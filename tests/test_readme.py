"""Every command of the README runs as written, in a folder like a fresh checkout, with the exit code that it states."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXIT = re.compile(r"#.*?\bexit (\d+(?:(?:, | or )\d+)*)")


def commands() -> list[tuple[str, set[int]]]:
    """Lines of the README's ``sh`` blocks, and the exit codes that each states (0 if none)."""
    text = (ROOT / "README.md").read_text()
    lines = [
        line for block in re.findall(r"```sh\n(.*?)```", text, re.S) for line in block.splitlines() if line.strip()
    ]
    return [
        (line, set(map(int, re.findall(r"\d+", found[1]))) if (found := EXIT.search(line)) else {0}) for line in lines
    ]


def test_the_readme_s_commands_do_what_it_says(tmp_path: Path) -> None:
    for name in ("examples", "profiles", "devices"):
        (tmp_path / name).symlink_to(ROOT / name)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    assert len(commands()) >= 10
    for line, expected in commands():
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=tmp_path,
            env=os.environ | {"PATH": path, "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode in expected, f"$ {line}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr


def test_every_link_of_the_documents_leads_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name} links to {target}"


def test_the_tool_is_installed_as_a_command() -> None:
    assert shutil.which("edgeproof", path=str(Path(sys.executable).parent))
