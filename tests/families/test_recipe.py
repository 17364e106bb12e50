"""The recipe for a new family, in aim/families/README.md, names what is there."""

import re
from dataclasses import fields
from pathlib import Path

from aim.families import Family

ROOT = Path(__file__).parents[2]
RECIPE = (ROOT / "aim/families/README.md").read_text().split("## Add a family")[1]


def first_cells(table: str) -> set[str]:
    """What stands between backticks in the first column of a table."""
    return {name for line in table.splitlines() if line.startswith("| `") for name in re.findall(r"`([^`]+)`", line.split("|")[1])}


def test_every_file_in_the_recipe_exists():
    files = first_cells(RECIPE.split("The fields of an entry:")[0]) | set(re.findall(r"tests/\w+/\w+\.py", RECIPE))
    assert len(files) > 15
    assert [file for file in sorted(files) if "NAME" not in file and not (ROOT / file).is_file()] == []


def test_the_recipe_has_every_field_of_an_entry():
    assert first_cells(RECIPE.split("The fields of an entry:")[1]) == {field.name for field in fields(Family)}
