"""The range of transformers, in the sentence, in pyproject.toml and here."""

import re
import tomllib
from pathlib import Path

import pytest

import aim
from aim.kernels import versions

ROOT = Path(__file__).parents[2]


def test_pyproject_asks_for_the_range_that_the_sentence_names():
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    [asked] = [one for one in dependencies if one.startswith("transformers")]
    assert asked in versions.advice() and asked.startswith(f"transformers>={versions.OLDEST},<")
    assert f"{versions.OLDEST} to {versions.NEWEST}" in versions.advice()


def test_the_app_is_pinned_to_one_release_within_the_range():
    low, high = re.search(r"^transformers>=([\d.]+),<([\d.]+)$", (ROOT / "requirements.txt").read_text(), re.M).groups()
    low, high, oldest, newest = (tuple(map(int, version.split("."))) for version in (low, high, versions.OLDEST, versions.NEWEST))
    assert oldest <= low <= newest and high == (low[0], low[1] + 1)


def test_a_transformers_without_what_is_imported_is_told_with_the_range(monkeypatch):
    def gone(_home):
        raise ImportError("cannot import name 'X' from 'transformers'", name="transformers")

    monkeypatch.setattr(aim, "import_module", gone)
    with pytest.raises(ImportError, match=rf"aim\.reduce cannot be imported\. .* {versions.OLDEST} to {versions.NEWEST}\. Install"):
        aim.reduce  # noqa: B018


def test_an_import_that_fails_for_another_reason_is_left_as_it_is(monkeypatch):
    def gone(_home):
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(aim, "import_module", gone)
    with pytest.raises(ModuleNotFoundError, match="No module named 'torch'"):
        aim.reduce  # noqa: B018
