"""`python -m aim.evaluation.weights_marks`: says in the documents which figures were measured with earlier weights of the bundled model.

Each stored figure names the weights that it was measured with, by the first digits of their hash (`aim.runtime.weights`). Run this after
the weights have changed. Whoever measures a figure again writes the new digits beside it.
"""

from __future__ import annotations

import re
from pathlib import Path

import aim
from aim.runtime.weights import EARLIER, are_earlier, bundled_digest

DIGITS = 12
DOCUMENTS = ("README.md", "aim/evaluation/README.md", "aim/tuning/README.md", "assets/shapes-vlm/README.md")
MARK = re.compile(rf"measured with (?:earlier )?weights,? `([0-9a-f]{{{DIGITS}}})`")


def marked(text: str) -> str:
    """A document in which every figure of earlier weights is said to be so, and no other one."""

    def told(mark: re.Match) -> str:
        return f"{EARLIER}, `{mark[1]}`" if are_earlier(mark[1]) else f"measured with weights `{mark[1]}`"

    return MARK.sub(told, text)


def main() -> None:
    """Rewrite the documents that need it, and print the digits of the present weights."""
    root = Path(aim.__file__).parents[1]
    for name in DOCUMENTS:
        file = root / name
        before = file.read_text(encoding="utf-8")
        after = marked(before)
        if after != before:
            file.write_text(after, encoding="utf-8")
            print(f"{name} is marked anew.")
    print(f"The bundled model's weights are {bundled_digest()[:DIGITS]}.")


if __name__ == "__main__":
    main()
