"""Whether stored figures still hold after a change of the code: some of their clips are measured anew, and every answer is compared.

A stored file keeps a digest of each clip's answers. Where the digests of the first clips are the same under the present code, the file
gets the present hash, and says with which code it was measured and how many clips were confirmed. One other answer is enough to refuse it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from hashlib import blake2b

from aim.evaluation.measure import Record

ANSWERS, CONFIRMED = "answers", "confirmed"  # entries of a stored file


def digests(records: Sequence[Record]) -> list[str]:
    """For each clip, in their order, a digest of all that was answered, counted and recalled about it. Times do not enter."""
    by_clip: dict[int, list] = {}
    for record in sorted(records, key=lambda record: (record.clip, record.setting)):
        outcomes = [(one.answer, one.recall and [round(share, 6) for share in one.recall]) for one in record.outcomes]
        by_clip.setdefault(record.clip, []).append((record.setting, record.visual_per_layer, outcomes))
    return [blake2b(json.dumps(told).encode(), digest_size=8).hexdigest() for told in by_clip.values()]


def confirmed(report: dict, code: str, clips: int, measure: Callable[[int], list[Record]]) -> tuple[dict | None, str]:
    """Measure the first clips of a stored report anew.

    Args:
        report: of earlier code and the present weights.
        code: the hash of the present code.
        clips: how many, ≥ 2.
        measure: gives the records of the first so many clips under all settings of the report.

    Returns:
        The report with the present hash, or None where it does not hold; and that in a sentence.
    """
    kept = report.get(ANSWERS)
    if kept is None:
        return None, "it was stored without digests of its answers, so measure it again"
    clips = min(clips, len(kept))
    now = digests(measure(clips))
    other = [str(clip) for clip, (before, after) in enumerate(zip(kept, now, strict=False)) if before != after]
    if other:
        return None, f"under the present code the answers about clip {', '.join(other)} are others, so measure it again"
    since = report.get(CONFIRMED, {}).get("measured_with", report["code"])
    told = {name: value for name, value in report.items() if name not in (CONFIRMED, "earlier")}
    return told | {"code": code, CONFIRMED: {"clips": clips, "measured_with": since}}, f"its answers about {clips} clips are the same"
