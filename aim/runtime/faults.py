"""Faults of a machine, in memory and on disk, told from faults of a program."""

from __future__ import annotations

import errno
import gc
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from aim.kernels.refusal import Refusal

# Texts of the plain RuntimeErrors by which torch and CUDA's libraries report that memory ran out.
_NO_MEMORY = ("DefaultCPUAllocator", "can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class NotEnoughMemory(Refusal):
    """A run does not fit into the memory of this machine. The message says which knob to turn."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the error says that memory ran out, the CPU's or a GPU's."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError, NotEnoughMemory)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


SMALLER_RUN = "Use fewer frames, a smaller merge ratio or an earlier l1."


@contextmanager
def within_memory(what: str, let_go: Callable[[], None], advice: str = SMALLER_RUN) -> Iterator[None]:
    """A block that is refused with a sentence where memory runs out in it. What it held is freed then. A block inside it that has refused
    so already keeps its own sentence.

    Args:
        what: the words for what does not fit.
        let_go: frees what is kept for later runs.
        advice: the sentence that says what to do.

    Raises:
        NotEnoughMemory: memory ran out.
    """
    problem = None
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        if isinstance(error, NotEnoughMemory):
            let_go()
            raise
        problem = error
    if problem is not None:
        let_go()
        give_back(problem)
        raise NotEnoughMemory(f"The memory of this machine does not hold {what}. {advice}")


def is_disk_full(error: BaseException) -> bool:
    """Whether the error says that a file could not be written because the disk is full."""
    return isinstance(error, OSError) and error.errno in _NO_SPACE


def give_back(error: BaseException) -> None:
    """Free what a failed run still holds: tensors in frames that its traceback keeps alive, and GPU memory that torch keeps for later."""
    traceback.clear_frames(error.__traceback__)
    error.__traceback__ = None
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
