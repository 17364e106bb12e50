"""The warning's threshold, from the file that `python -m aim.evaluation.guard_threshold` and `aim eval --everything` measure it into."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache

from aim.families.names import BUNDLED
from aim.kernels.refusal import Refusal

FILE = BUNDLED.parent / "guard.json"


@dataclass(frozen=True)
class Calibration:
    """A threshold in nats, and the hash of the weights that it was measured with."""

    threshold: float
    weights: str


@cache
def calibration() -> Calibration:
    """What is stored.

    Raises:
        Refusal: nothing is, as where the package was installed without `assets/`.
    """
    if not FILE.exists():
        raise Refusal("The warning's threshold, assets/guard.json, is not here. Give threshold=0.07, for example, in nats.")
    stored = json.loads(FILE.read_text(encoding="utf-8"))
    return Calibration(stored["threshold"], stored["weights"])
