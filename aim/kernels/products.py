"""In what precision a CPU multiplies float32 matrices: in bfloat16 during a run where that is measured faster, and exactly elsewhere.

torch has one setting for the whole process (`torch.set_float32_matmul_precision`), and runs in several threads overlap. So the blocks that
are open are counted. The setting is changed when the first block opens, and put back when the last one closes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


def _has_amx() -> bool:
    """Whether oneDNN is here and the processor multiplies bfloat16 matrices in tiles. A torch that cannot tell counts as without."""
    tell = getattr(torch.cpu, "get_capabilities", None)  # public, and younger than the oldest torch that this package takes
    return tell is not None and torch.backends.mkldnn.is_available() and bool(tell().get("amx_bf16"))


# Features of processors with which a CPU multiplies float32 matrices in bfloat16, and what tells whether this one has them.
#
# AMX: on one such processor an earlier trial found 1.78 times the speed on a SigLIP tower, and 1.75 times on a Qwen2-0.5B prefill.
#
# AVX-512 BF16 alone is no row. On an AMD EPYC that has it, oneDNN 3.12.0 (torch 2.13) kept such products in float32: results differed by
# 3e-7 of their size, and two layers of Qwen2-0.5B on 1,600 tokens took 1.19 s of processor time where they had taken 1.32 s.
FASTER_WITH: dict[str, Callable[[], bool]] = {"AMX": _has_amx}

_lock = threading.Lock()
_open = {"bfloat16": 0, "exact": 0}
_before: tuple[str, ...] | None = None  # the setting to put back; None while it is not ours


def bfloat16_products() -> str | None:
    """The feature of this processor with which runs multiply float32 matrices in bfloat16; None where it has none."""
    return next((feature for feature, is_here in FASTER_WITH.items() if is_here()), None)


@contextmanager
def faster_products() -> Iterator[None]:
    """A block in which float32 matrices are multiplied in bfloat16, where the processor has what makes that faster.

    Sums stay in float32. A precision that somebody has set stays. Blocks may be nested, and may be open in several threads.
    """
    if bfloat16_products() is None:
        yield
        return
    with _counted("bfloat16"):
        yield


@contextmanager
def exact_products() -> Iterator[None]:
    """A block in which float32 matrices are multiplied in float32, also inside `faster_products` and beside it in other threads."""
    with _counted("exact"):
        yield


@contextmanager
def _counted(kind: str) -> Iterator[None]:
    _count(kind, 1)
    try:
        yield
    finally:
        _count(kind, -1)


def _count(kind: str, change: int) -> None:
    global _before
    with _lock:
        _open[kind] += change
        wanted = _open["bfloat16"] > 0 and not _open["exact"]
        if wanted and _before is None:
            before = _setting()
            if before and before[0] == "highest":
                torch.set_float32_matmul_precision("medium")
                _before = before
        elif not wanted and _before is not None:
            before, _before = _before, None
            if (_setting() or ("",))[0] == "medium":  # else somebody has set another one meanwhile, which stays
                torch.set_float32_matmul_precision(before[0])
                for backend, value in zip(_backends(), before[1:], strict=True):
                    backend.fp32_precision = value


def _setting() -> tuple[str, ...] | None:
    """The precision, and what each backend holds, which torch changes with it. None where backends were set one by one."""
    try:
        return (torch.get_float32_matmul_precision(), *[backend.fp32_precision for backend in _backends()])
    except RuntimeError:
        return None


def _backends() -> list:
    """The backends with a setting of their own; none in torch 2.8."""
    both = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul) if hasattr(torch.backends.mkldnn, "matmul") else ()
    return [backend for backend in both if hasattr(backend, "fp32_precision")]
