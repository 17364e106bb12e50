"""The house: which rooms there are, and that imports go one way through them."""

import ast
import re
from pathlib import Path

import pytest

import aim

HOUSE = Path(aim.__file__).parent
# From the ground up: a room imports from itself and from those before it.
ROOMS = (
    "kernels",
    "methods",
    "families",
    "planning",
    "engine",
    "video",
    "runtime",
    "tuning",
    "views",
    "shapes",
    "evaluation",
    "bench",
    "serving",
    "ui",
    "commands",
)


def imported(module: Path) -> list[str]:
    """The names of this project's modules that a module imports anywhere in it."""
    names = []
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports relatively"
            names += [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "aim" else [node.module or ""]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return [name for name in names if name.startswith("aim.")]


@pytest.mark.parametrize("room", ROOMS)
def test_no_import_of_a_room_runs_back_up(room):
    up = ROOMS[ROOMS.index(room) + 1 :]
    modules = list((HOUSE / room).rglob("*.py"))
    wrong = [f"{module.relative_to(HOUSE)}: {name}" for module in modules for name in imported(module) if name.split(".")[1] in up]
    assert modules and wrong == []


def test_every_module_stands_in_a_room():
    assert {path.name for path in HOUSE.glob("*.py")} == {"__init__.py", "__main__.py"}
    assert {path.parent.relative_to(HOUSE).parts[0] for path in HOUSE.glob("*/**/*.py")} == set(ROOMS)


def test_only_the_page_knows_gradio():
    wrong = [
        str(path.relative_to(HOUSE))
        for path in HOUSE.rglob("*.py")
        if re.search(r"^\s*(import|from) gradio\b", path.read_text(encoding="utf-8"), re.M) and path.relative_to(HOUSE).parts[0] != "ui"
    ]
    assert wrong == []


def test_every_room_says_what_it_is_for():
    for room in ROOMS:
        text = (HOUSE / room / "__init__.py").read_text(encoding="utf-8")
        assert ast.get_docstring(ast.parse(text)), room
