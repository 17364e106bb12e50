"""Where the checkpoint behind a name is."""

from __future__ import annotations

from pathlib import Path

BUNDLED = Path(__file__).resolve().parents[2] / "assets" / "shapes-vlm"


def locate(name: str) -> str:
    """The folder or Hub id behind a name; "bundled" is the model in this repository."""
    return str(BUNDLED) if name == "bundled" else str(name)
