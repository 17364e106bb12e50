"""The status line: what goes on, or why nothing does."""

from __future__ import annotations

from html import escape


def status(text: str, stages: str = "", busy: bool = False, error: bool = False) -> str:
    """The status line as HTML: what goes on, and beside it the stages (`aim.views.figures.steps`). An error stays until the next action."""
    kind, role = ("aim-error", "alert") if error else ("aim-busy" if busy else "aim-idle", "status")
    return f'<div class="aim-status" role="{role}"><p class="{kind}">{escape(text)}</p>{stages}</div>'


def not_run(told: str) -> str:
    """The status line after an error, with its sentence."""
    return status(f"Not run: {told}", error=True)
