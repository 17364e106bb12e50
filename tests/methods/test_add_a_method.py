"""The example "Add a method" of aim/methods/README.md, followed to the letter on a copy of the package: one file, one line."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE_OPENS = "_FILES = {\n"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the package with the recipe's file and line in it."""
    section = (ROOT / "aim" / "methods" / "README.md").read_text(encoding="utf-8").split("## Add a method\n")[1]
    code, line = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    [path] = re.findall(r"One new file, `(.+?)`", section)
    [table] = re.findall(r"one line in the table of `(.+?)`", section)
    copy = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "aim", copy / "aim", ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "assets").symlink_to(ROOT / "assets")
    (copy / path).write_text(code, encoding="utf-8")
    before = (copy / table).read_text(encoding="utf-8")
    assert before.count(TABLE_OPENS) == 1 and line.count("\n") == 1
    (copy / table).write_text(before.replace(TABLE_OPENS, TABLE_OPENS + line), encoding="utf-8")
    return copy


def command(checkout: Path, *arguments: str) -> dict:
    done = subprocess.run([sys.executable, "-m", "aim", *arguments, "--json"], cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.long
def test_the_new_method_is_planned(checkout: Path):
    options = ("--frames", "32", "--method", "keylength", "--layer", "3", "--keep-ratio", "0.25")
    planned = command(checkout, "plan", "llava-onevision-qwen2-7b", *options)
    assert planned["tokens_per_layer"] == [[6272, 100]] * 3 + [[1568, 100]] * 25


@pytest.mark.long
def test_the_new_method_runs(checkout: Path):
    answer = command(
        checkout, "ask", "assets/examples/colour.mp4", "How many shapes are there?", "--method", "keylength", "--keep-ratio", "0.25"
    )
    assert answer["method"] == "keylength" and answer["answer"]
    assert [visual for visual, _ in answer["tokens_per_layer"]] == [392] * 2 + [98] * 10
