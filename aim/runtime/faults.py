"""Telling the faults of a machine, memory and disk, from faults of a program."""

from __future__ import annotations

import errno
import gc
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

# How torch words it on the CPU and in CUDA's libraries, as plain RuntimeErrors.
_NO_MEMORY = ("DefaultCPUAllocator", "can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class NotEnoughMemory(ValueError):
    """A run that does not fit into memory here; the message says which knob to turn."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, the CPU's or a GPU's."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError, NotEnoughMemory)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


@contextmanager
def within_memory(what: str, let_go: Callable[[], None]) -> Iterator[None]:
    """Turns running out of memory inside the block into a sentence, and frees what the block held.

    Args:
        what: what does not fit, as the sentence calls it.
        let_go: frees what is kept for later runs.

    Raises:
        NotEnoughMemory: memory ran out.
    """
    problem = None
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        problem = error
    if problem is not None:
        let_go()
        give_back(problem)
        raise NotEnoughMemory(f"The memory here does not hold {what}. Use fewer frames, a smaller merge ratio or an earlier l1.")


def is_disk_full(error: BaseException) -> bool:
    """Whether a file could not be written for want of space."""
    return isinstance(error, OSError) and error.errno in _NO_SPACE


def give_back(error: BaseException) -> None:
    """Free what a failed run still holds: the tensors in the frames its traceback keeps alive, and the memory torch keeps for later."""
    traceback.clear_frames(error.__traceback__)
    error.__traceback__ = None
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
