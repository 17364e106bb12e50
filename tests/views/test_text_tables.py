"""Tables as text: the cells stay what they are, and stand under each other."""

from __future__ import annotations

import pytest

from aim.views.text_tables import markdown_table, plain_table

ROWS = [["method", "KL", "FLOPs"], ["aim", "0.0123", "2 G"], ["pyramid-drop", "1", "14.8 T"]]


def test_columns_stand_under_each_other():
    lines = plain_table(ROWS, figures=False).splitlines()
    assert [line.index(row[2]) for line, row in zip(lines, ROWS, strict=True)] == [len("pyramid-drop  0.0123  ")] * 3
    assert [line.split() for line in lines] == [" ".join(row).split() for row in ROWS]
    assert not any(line.endswith(" ") for line in lines)


def test_figures_end_under_each_other_and_names_begin_there():
    lines = plain_table(ROWS).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert all(line.startswith(row[0]) and line.endswith(row[2]) for line, row in zip(lines, ROWS, strict=True))


def test_a_markdown_table_has_its_rule_below_the_head_and_the_same_bars_in_every_line():
    head, rule, *body = markdown_table(ROWS).splitlines()
    bars = {tuple(place for place, letter in enumerate(line) if letter == "|") for line in (head, rule, *body)}
    assert len(bars) == 1 and set(rule) == {"|", "-"}
    assert [[cell.strip() for cell in line.strip("|").split("|")] for line in (head, *body)] == ROWS


@pytest.mark.parametrize("write", [plain_table, markdown_table])
def test_rows_of_different_lengths_are_no_table(write):
    with pytest.raises(ValueError):
        write([["a", "b"], ["c"]])
