"""The house: layers as import-linter sees them, and what each promise about them rests on."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "kit").rglob("*.py"))


def test_the_layers_hold() -> None:
    program = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_every_module_of_the_package_is_in_a_layer() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = config["tool"]["importlinter"]["contracts"][0]["layers"]
    named = {name.strip() for layer in layers for name in layer.split("|")}
    have = {f"kit.{p.stem}" for p in (ROOT / "kit").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert have - named <= {"kit.__init__", "kit.agent"}


def test_the_agent_imports_only_what_a_bare_board_has() -> None:
    allowed = {"kit", "numpy", "onnxruntime", "psutil"} | set(sys.stdlib_module_names)
    shared = {"kit.wire", "kit.files", "kit.records", "kit.errors", "kit.digest", "kit.interface", "kit.agent", "kit"}
    shared_files = {ROOT / "kit" / f"{name.split('.')[1]}.py" for name in shared if "." in name}
    for path in sorted((ROOT / "kit" / "agent").rglob("*.py")) + sorted(p for p in shared_files if p.exists()):
        for name in imports(path):
            assert name.split(".")[0] in allowed, f"{path.name} imports {name}"
            if name.startswith("kit"):
                assert any(name == s or name.startswith(s + ".") for s in shared), f"{path.name} imports {name}"


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [f"{node.module}.{a.name}" if node.module == "kit" else node.module for a in node.names]
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_public_name_says_what_it_is(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), f"{path}: no docstring"
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for node in [*tree.body, *(member for each in classes for member in each.body)]:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path}:{node.lineno}: {node.name} has no docstring"


def test_no_function_is_longer_than_sixty_lines() -> None:
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                size = (node.end_lineno or 0) - node.lineno + 1
                assert size <= 60, f"{path}:{node.lineno}: {node.name} has {size} lines"


def test_the_wheel_carries_the_data_folders_and_only_one_package() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert build["packages"] == ["kit"]
    assert set(build["force-include"]) == {"profiles", "devices", "reports"}
