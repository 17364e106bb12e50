"""One function for many arguments, on as many processes as there are cores, each on one thread: no figure depends on their number."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from typing import TypeVar

import torch

from aim.kernels.products import exact_products
from aim.runtime.vlm import VLM, load

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_order(function: Callable[[Task], Result], tasks: Sequence[Task], processes: int) -> Iterator[Result]:
    """What the function gives for each task, in the order of the tasks, with exact products.

    Args:
        function: known by name in its module, so that a process can find it, or a `functools.partial` of such a one.
        processes: how many at once, ≥ 1. One is this process.
    """
    processes = min(processes, len(tasks))
    if processes <= 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for task in tasks:
                yield _exactly(function, task)
        finally:
            torch.set_num_threads(threads)
        return
    # Spawned, not forked: a fork of a process that has used torch's threads may hang.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_on_one_thread) as pool:
        try:
            yield from pool.map(partial(_exactly, function), tasks)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _on_one_thread() -> None:
    from transformers.utils.logging import disable_progress_bar

    torch.set_num_threads(1)
    disable_progress_bar()


def _exactly(function: Callable[[Task], Result], task: Task) -> Result:
    with exact_products():
        return function(task)


@lru_cache(maxsize=1)
def loaded(name: str) -> VLM:
    """This process's model."""
    return load(name, device="cpu")
