"""Memory of a stretch of work: what CUDA allocated, or on Linux what the whole process held."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

_CLEAR, _STATUS, _MACHINE = Path("/proc/self/clear_refs"), Path("/proc/self/status"), Path("/proc/meminfo")
SPARE = 0.9  # of the free memory, the share work may take where no limit is given


class Peak:
    """The most memory held since this was made, in bytes. The counter behind it is the process's: of two made one after the other, the
    second one sets back the first.

    Args:
        gpus: those whose allocated tensors are counted. Of several GPUs, as a model spread over them has, it is the sum of what each one
            held at most; they need not have held it at the same moment. With none given, it is what the whole process held in the host's
            memory, weights and libraries too; Linux alone tells.
    """

    def __init__(self, gpus: Sequence[torch.device] = ()):
        self._gpus = gpus
        self._starts_here = _reset_peak(gpus)

    def read(self) -> int | None:
        """The peak until now. None where nobody tells, and where the counter could not be set back: it would show an earlier peak."""
        if not self._starts_here:
            return None
        return sum(map(torch.cuda.max_memory_allocated, self._gpus)) if self._gpus else _field(_STATUS, "VmHWM")


def _reset_peak(gpus: Sequence[torch.device]) -> bool:
    try:
        for gpu in gpus:
            torch.cuda.reset_peak_memory_stats(gpu)
        if not gpus:
            _CLEAR.write_text("5")  # documented in proc(5): resets the peak resident set size
    except (OSError, RuntimeError):  # a file that is absent or not writable; an allocator put in place of torch's, which keeps no count
        return False
    return True


def read_held(gpus: Sequence[torch.device] = ()) -> int | None:
    """Bytes held now, counted as in `Peak`."""
    return sum(map(torch.cuda.memory_allocated, gpus)) if gpus else _field(_STATUS, "VmRSS")


def available(device: torch.device) -> int | None:
    """Bytes this process could hold in all, counted as in `Peak`: what it has and most of what is free. None where nobody tells."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(torch.cuda.memory_reserved(device) + SPARE * free)
    free, held = _field(_MACHINE, "MemAvailable"), _field(_STATUS, "VmRSS")
    return None if free is None or held is None else int(held + SPARE * free)


def release() -> None:
    """As `give_back_freed`, after collecting what only waits to be collected."""
    gc.collect()
    give_back_freed()


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


@contextmanager
def limit(device: torch.device, amount: int | None) -> Iterator[None]:
    """Let the process hold at most `amount` bytes, so that more raises an out-of-memory error instead of ending the process or hurting
    others: on CUDA of that device's memory, on Linux of data (libraries apart). None, and other systems: no limit."""
    if amount is None:
        yield
        return
    if device.type == "cuda":
        _, total = torch.cuda.mem_get_info(device)
        number = torch.cuda.current_device() if device.index is None else device.index  # the function below takes no bare "cuda"
        torch.cuda.set_per_process_memory_fraction(min(1.0, amount / total), number)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, number)
        return
    try:
        import resource
    except ImportError:  # not on Windows
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (amount if before[1] == resource.RLIM_INFINITY else min(amount, before[1]), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _field(file: Path, name: str) -> int | None:
    """A line of /proc in kB, as bytes; None where there is none."""
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)
