"""Tables as text, their columns aligned: plain for a terminal, or in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

Rows = Sequence[Sequence[str]]


def plain_table(rows: Rows, figures: bool = True) -> str:
    """Rows of equally many cells as lines, two spaces between columns.

    Args:
        figures: the columns after the first hold figures and are aligned to the right; else all are aligned to the left.
    """
    return "\n".join("  ".join(row).rstrip() for row in _padded(rows, figures))


def markdown_table(rows: Rows, aligned: bool = True) -> str:
    """Rows of equally many cells as a Markdown table; the first row is its head. Aligned columns can be read in a terminal too."""
    head, *body = ["| " + " | ".join(row) + " |" for row in (_padded(rows) if aligned else rows)]
    rule = "|" + "|".join("-" * (width + 2 if aligned else 3) for width in _widths(rows)) + "|"
    return "\n".join([head, rule, *body])


def _padded(rows: Rows, figures: bool = False) -> list[list[str]]:
    """Every cell as wide as the widest of its column."""
    widths = _widths(rows)
    sides = [str.rjust if figures and column else str.ljust for column in range(len(widths))]
    return [[side(cell, width) for side, cell, width in zip(sides, row, widths, strict=True)] for row in rows]


def _widths(rows: Rows) -> list[int]:
    return [max(map(len, column)) for column in zip(*rows, strict=True)]
