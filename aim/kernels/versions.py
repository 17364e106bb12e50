"""The releases of transformers that this project was tested with, and the sentence for one outside them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

# pyproject.toml asks for the same range, and CI runs both ends of it.
OLDEST, NEWEST = "5.17", "5.24"


def advice() -> str:
    """What to do where this release of transformers lacks something that the project stands on, as two sentences."""
    try:
        here = f"This is transformers {version('transformers')}"
    except PackageNotFoundError:
        here = "Here transformers is not installed"
    major, minor = map(int, NEWEST.split("."))
    return (
        f"{here}; AIM Explorer was tested with {OLDEST} to {NEWEST}. "
        f"Install one of them, for example with `pip install 'transformers>={OLDEST},<{major}.{minor + 1}'`."
    )
