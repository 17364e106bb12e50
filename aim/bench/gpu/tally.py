"""Many checks of one kind, counted and put into a table."""

from __future__ import annotations

from collections import Counter

from aim.bench.gpu.parts import Found
from aim.views.text_tables import markdown_table

# How a result begins that is neither right nor wrong.
NEITHER = ("refused", "stock", "no time")


def outcomes(what: str, results: dict[str, str], good: str, left_out: list[str]) -> Found:
    """What was found of checks, each with its result: `good`, one that begins with a word of `NEITHER`, or what is wrong."""
    counted = Counter(result if result == good else result.partition(":")[0] for result in results.values())
    wrong = [f"{name}: {result}" for name, result in results.items() if result != good and not result.startswith(NEITHER)]
    rest = [f"{name}: {result}" for name, result in results.items() if result.startswith(NEITHER[1:])]
    rows = [[what, "cases"], *([result, str(count)] for result, count in counted.most_common())]
    return Found({"counts": dict(counted), "results": results}, markdown_table(rows), wrong, [*rest, *left_out])
