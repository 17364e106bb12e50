"""Peak memory of a stretch of work: what CUDA allocated, or on Linux what the whole process held."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import torch

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def reset_peak(device: torch.device) -> bool:
    """Start a new stretch. Returns whether `read_peak` will have an answer."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        _CLEAR.write_text("5")  # documented in proc(5): resets the peak resident set size
    except OSError:
        return False
    return True


def read_peak(device: torch.device) -> int | None:
    """Bytes at the highest point since `reset_peak`: allocated tensors on CUDA, the whole process (weights and libraries too) on Linux."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    for line in _STATUS.read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def give_back_freed() -> None:
    """Hand memory that is free inside the process back to the system, where the C library can (glibc). Its heaps, one for each few threads,
    would keep what the largest run of each has touched, so that a server grows for hundreds of runs."""
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim():
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
