"""What a budget may limit: one table of kinds, each with its unit, the ways it is written, and the words for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of budget.

    Attributes:
        name: `Budget.kind`.
        unit: of costs and limits.
        written: unit behind a number, in lower case → the factor that makes it an amount of this kind.
        modelled: what a plan takes, from its `to_dict()`: in `unit`, or for milliseconds the TFLOP that their time covers.
        title: the cost's name beside a figure or along an axis, which says whether it is modelled or measured.
        label: the amount's name beside the control that sets it.
    """

    name: str
    unit: str
    written: dict[str, float]
    modelled: Callable[[dict], float]
    title: str
    label: str


def _prefill(account: dict) -> float:
    return account["prefill_tflops"]


def _timed(account: dict) -> float:
    return account["prefill_tflops"] + account["merge_tflops"] + account["importance_tflops"]


def _megabytes(account: dict) -> float:
    return account["kv_bytes"] / 1e6


_TABLE = (
    Kind(
        name="tflop",
        unit="TFLOP",
        written={"tflop": 1.0, "gflop": 1e-3, "mflop": 1e-6},
        modelled=_prefill,
        title="prefill FLOPs, modelled",
        label="TFLOP of prefill, at most",
    ),
    Kind(
        name="times",
        unit="TFLOP",
        written={"x": 1.0},
        modelled=_prefill,
        title="prefill FLOPs, modelled",
        label="FLOPs reduction (× fewer than the full model)",
    ),
    Kind(
        name="ms",
        unit="ms",
        written={"ms": 1.0, "s": 1000.0},
        modelled=_timed,
        title="prefill, measured",
        label="Longest prefill, in milliseconds",
    ),
    Kind(
        name="mb",
        unit="MB",
        written={"mb": 1.0, "gb": 1000.0, "kb": 1e-3},
        modelled=_megabytes,
        title="KV cache after the prefill, modelled",
        label="Largest KV cache after the prefill, in MB",
    ),
)
# By `Budget.kind`.
KINDS: dict[str, Kind] = {kind.name: kind for kind in _TABLE}
