"""Says in the documents which figures were measured with earlier weights of the bundled model; `python -m aim eval --documents` runs it.

Each figure names the weights that it was measured with, by the first digits of their hash (`aim.runtime.weights`).
"""

from __future__ import annotations

import re

from aim.runtime.weights import EARLIER, are_earlier

DIGITS = 12
DOCUMENTS = ("README.md", "aim/evaluation/README.md", "aim/tuning/README.md", "aim/runtime/README.md", "assets/shapes-vlm/README.md")
MARK = re.compile(rf"measured with (?:earlier )?weights,? `([0-9a-f]{{{DIGITS}}})`")


def marked(text: str) -> str:
    """A document in which every figure of earlier weights is said to be so, and no other one."""

    def told(mark: re.Match) -> str:
        return f"{EARLIER}, `{mark[1]}`" if are_earlier(mark[1]) else f"measured with weights `{mark[1]}`"

    return MARK.sub(told, text)
