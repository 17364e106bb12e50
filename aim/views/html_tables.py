"""Tables as HTML: a head, rows that begin with a name, a caption for screen readers. Callers escape what they put in."""

from __future__ import annotations

from collections.abc import Iterable


def head_row(columns: Iterable[tuple[str, str]]) -> str:
    """The head of an HTML table: what each column holds, and below it of which kind that is ("measured", "modelled"...)."""
    cells = "".join(f'<th scope="col">{what}<small class="aim-kind">{kind}</small></th>' for what, kind in columns)
    return f"<thead><tr>{cells}</tr></thead>"


def row(name: str, cells: Iterable[str], attributes: str = "") -> str:
    """A row of an HTML table: its name and its cells; `attributes` such as ` class="aim-chosen"` are the row's."""
    return f'<tr{attributes}><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'


def table(caption: str, head: str, rows: Iterable[str], kind: str = "") -> str:
    """An HTML table of class `aim-table` and of class `kind`; its caption is for screen readers alone."""
    classes = f"aim-table {kind}".strip()
    return f'<table class="{classes}"><caption class="aim-hidden">{caption}</caption>{head}<tbody>{"".join(rows)}</tbody></table>'


def scrolling(label: str, content: str) -> str:
    """Content that may be wider than the page, in a frame called `label` that scrolls on its own, with the keyboard too."""
    return f'<div class="aim-scroll" tabindex="0" role="group" aria-label="{label}">{content}</div>'
