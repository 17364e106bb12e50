"""The rows of a table that the README's test command runs, and those that only CI runs."""

from __future__ import annotations

from collections.abc import Iterable

import pytest


def one_in(step: int, rows: Iterable) -> list:
    """All rows as parameters, of which the first of every `step` runs by default, and CI runs the others too.

    A row that is a tuple holds a value for each name.
    """
    return [row if number % step == 0 else _whole(row) for number, row in enumerate(rows)]


def _whole(row):
    if isinstance(row, type(pytest.param())):
        return pytest.param(*row.values, id=row.id, marks=[*row.marks, pytest.mark.whole])
    return pytest.param(*(row if isinstance(row, tuple) else [row]), marks=pytest.mark.whole)
