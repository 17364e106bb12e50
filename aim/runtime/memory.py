"""The memory that a piece of work takes: what CUDA allocated, or on Linux what the whole process held."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

_CLEAR, _STATUS, _MACHINE = Path("/proc/self/clear_refs"), Path("/proc/self/status"), Path("/proc/meminfo")
SPARE = 0.9  # the share of the free memory that work may take


class Peak:
    """The most memory held since this was made, in bytes.

    It reads a counter of the process and sets it back. So a second `Peak` sets back the first one too.

    Args:
        gpus: the GPUs whose allocated tensors are counted. Of several GPUs it is the sum of the most that each one held, which they need
            not have held at the same moment. With none given, it is what the whole process held in the host's memory, with weights and
            libraries; only Linux tells that.
    """

    def __init__(self, gpus: Sequence[torch.device] = ()):
        self._gpus = gpus
        self._starts_here = _reset_peak(gpus)

    def read(self) -> int | None:
        """The peak until now, in bytes. None where the system does not tell, or where the counter could not be set back."""
        if not self._starts_here:
            return None
        return sum(map(torch.cuda.max_memory_allocated, self._gpus)) if self._gpus else _field(_STATUS, "VmHWM")


def _reset_peak(gpus: Sequence[torch.device]) -> bool:
    try:
        for gpu in gpus:
            torch.cuda.reset_peak_memory_stats(gpu)
        if not gpus:
            _CLEAR.write_text("5")  # documented in proc(5): resets the peak resident set size
    except (OSError, RuntimeError):  # the file is absent or not writable, or another allocator than torch's keeps no count
        return False
    return True


def read_held(gpus: Sequence[torch.device] = ()) -> int | None:
    """Bytes held now, counted as in `Peak`; None where the system does not tell."""
    return sum(map(torch.cuda.memory_allocated, gpus)) if gpus else _field(_STATUS, "VmRSS")


def available(device: torch.device) -> int | None:
    """Bytes that this process could hold in all, counted as in `Peak`: what it holds, and the share `SPARE` of what is free.

    None where the system does not tell.
    """
    if device.type == "cuda":
        unused, _ = torch.cuda.mem_get_info(device)
        return int(torch.cuda.memory_reserved(device) + SPARE * unused)
    free, held = _field(_MACHINE, "MemAvailable"), _field(_STATUS, "VmRSS")
    return None if free is None or held is None else int(held + SPARE * free)


def release() -> None:
    """Collect garbage, and then hand freed memory back as `give_back_freed` does."""
    gc.collect()
    give_back_freed()


def give_back_freed() -> None:
    """Hand memory that is free inside the process back to the system, where the C library can (glibc).

    glibc shares several heaps among the threads. Each heap would keep what its largest run has used, so that a server would grow for
    hundreds of runs.
    """
    trim = _trim()
    if trim is not None:
        trim(0)


@cache
def _trim() -> Callable[[int], int] | None:
    """glibc's `malloc_trim`; None where the C library has none."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None


@contextmanager
def limit(device: torch.device, amount: int | None) -> Iterator[None]:
    """A block in which the process may hold at most `amount` bytes. More raises an out-of-memory error, and neither ends the process nor
    hurts others.

    On CUDA the bytes are those of the device's memory. On Linux they are those of data, without libraries. There is no limit on other
    systems, and where `amount` is None.
    """
    if amount is None:
        yield
        return
    if device.type == "cuda":
        _, total = torch.cuda.mem_get_info(device)
        number = torch.cuda.current_device() if device.index is None else device.index  # the function below needs a number
        torch.cuda.set_per_process_memory_fraction(min(1.0, amount / total), number)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, number)
        return
    try:
        import resource
    except ImportError:  # Windows has none
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (amount if before[1] == resource.RLIM_INFINITY else min(amount, before[1]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _field(file: Path, name: str) -> int | None:
    """The kB in one line of a file of /proc, as bytes; None where there is no such file or line."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)
