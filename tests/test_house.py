"""The house keeps its shape: who imports whom, and how fast help answers."""

import ast
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("curation", "train", "eval")
ALLOWED = {"dynamicrafter": set(), **{room: {"dynamicrafter"} for room in ROOMS}}


def imported_rooms(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module)
    return {name.split(".")[0] for name in names} & {"dynamicrafter", *ROOMS}


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_imports_run_in_one_direction(room):
    sources = sorted((ROOT / room).rglob("*.py"))
    assert sources
    for path in sources:
        strangers = imported_rooms(path) - ALLOWED[room] - {room}
        assert not strangers, f"{path.relative_to(ROOT)} imports {sorted(strangers)}"


def test_relative_imports_are_not_used():
    for room in ALLOWED:
        for path in (ROOT / room).rglob("*.py"):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            relative = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level]
            assert not relative, path


def test_help_answers_in_under_a_second_without_heavy_libraries():
    probe = (
        "import sys; sys.argv = ['dynamicrafter', '--help']\n"
        "from dynamicrafter.cli import main; main()\n"
        "heavy = {'torch', 'hydra', 'wandb', 'open_clip', 'pandas', 'numpy', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    started = time.monotonic()
    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    seconds = time.monotonic() - started
    assert answer.stdout.splitlines()[-1] == "[]", answer.stdout
    assert "curate" in answer.stdout
    assert seconds < 1.0


def test_a_report_from_cached_features_waits_for_no_torch():
    probe = "import sys, eval.pipeline; print(sorted({'torch', 'pandas'} & sys.modules.keys()))"
    answer = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert answer.stdout.splitlines() == ["[]"], answer.stderr


def test_no_module_is_longer_than_a_head_can_hold():
    for room in ALLOWED:
        for path in (ROOT / room).rglob("*.py"):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            assert lines <= 400, f"{path.relative_to(ROOT)} has {lines} lines"


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_what_notebooks_import_is_there(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    wanted = [
        (node.module, alias.name)
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in {*ALLOWED}
        for alias in node.names
    ]
    assert wanted
    for module, name in wanted:
        assert hasattr(importlib.import_module(module), name), f"{module} has no {name}"
