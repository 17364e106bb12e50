"""Where the jobs run. On a ZeroGPU Space this is a worker, which holds the GPU for as long as a job lasts. Elsewhere it is this process.

On ZeroGPU the package `spaces` forks a process for a call, or uses one again. The model comes along with the fork. Arguments and results
are pickled, so only plain values cross: frames, words and knobs on the way in, answers with arrays instead of tensors on the way out.
"""

from __future__ import annotations

import itertools
import mmap
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch

from aim.kernels.refusal import Refusal
from aim.methods import Method
from aim.ui.errors import log_fault
from aim.ui.jobs import JOBS, Run, here
from aim.ui.model import AppModel

# These make the time asked of ZeroGPU, which checks it against a visitor's quota before the run. They are cautious guesses and were not
# measured: a prefill reaches a small part of the card's peak, and a token takes about as long as launching its kernels.
START_SECONDS, TFLOPS_A_SECOND, SECONDS_A_TOKEN = 5, 20.0, 0.05
SHORTEST, LONGEST = 10, 120
LOOK_SECONDS = 0.1  # how often a stop is looked for while the worker works

# Memory that a fork shares with the process it came from: a byte for each job under way, 1 once it should end. An event cannot be pickled.
_STOPS = mmap.mmap(-1, 256)
_places = itertools.count()


def placed(vlm, gpu: Callable | None = None) -> AppModel:
    """The model as the app should use it. Its jobs run in the worker where there is ZeroGPU, else in this process.

    Args:
        gpu: the decorator, called as `gpu(duration=estimate)(function)`; default `spaces.GPU` where app.py could import it.
    """
    gpu = gpu or getattr(sys.modules.get("spaces"), "GPU", None)
    own = ("run", "live", "metered", "choosable", "clips", "full_answers", "gate", "features_bytes")
    facts = {item.name: getattr(vlm, item.name) for item in fields(AppModel) if item.name not in own}
    there = None if gpu is None else _there(vlm, gpu)
    # Visitors compare methods on clips that they have asked about, and one that reads the tower's attention would encode the clip again.
    vlm.features.watched = True
    live = vlm.is_bundled and there is None  # a call of the worker takes longer than a move of a knob
    return AppModel(**facts, features_bytes=lambda: vlm.features.bytes, run=there or here(vlm), live=live, metered=there is not None)


def seconds(vlm, job: str, **arguments: Any) -> int:
    """How long a job may need on ZeroGPU, from its modelled cost, in whole seconds from `SHORTEST` to `LONGEST`."""
    tflops, tokens = JOBS[job].needs(vlm, **arguments)
    return int(min(LONGEST, max(SHORTEST, START_SECONDS + tflops / TFLOPS_A_SECOND + tokens * SECONDS_A_TOKEN)))


def _there(vlm, gpu: Callable) -> Run | None:
    """Runs each job in one call of the worker. None outside of ZeroGPU."""

    def work(job: str, arguments: dict[str, Any], place: int) -> Iterator[Any]:
        yield None  # says that the worker is there
        try:
            for result in JOBS[job].work(vlm, _Stop(place), **unpacked(arguments)):
                yield packed(result)
        except Refusal as error:  # raised, it would come back as "ZeroGPU worker error"
            yield error.with_traceback(None)
        except Exception as error:
            log_fault(error)  # here, because "ZeroGPU worker error" keeps neither the type nor the traceback
            raise

    def estimate(job: str, arguments: dict[str, Any], place: int) -> int:
        return seconds(vlm, job, **unpacked(arguments))

    decorated = gpu(duration=estimate)(work)
    if decorated is work:  # outside of ZeroGPU `spaces.GPU` gives the function back
        return None

    def run(job: str, stop: threading.Event, **arguments: Any) -> Iterator[Any]:
        place = next(_places) % len(_STOPS)
        _STOPS[place] = 0
        with closing(decorated(job, packed(arguments), place)) as results:
            next(results, None)  # the fork is made now, and before it there is no thread of ours
            with _passing_on(stop, place):
                for result in results:
                    if isinstance(result, Refusal):
                        raise result
                    yield unpacked(result)

    return run


class _Stop:
    """A signal to stop, as the worker sees it."""

    def __init__(self, place: int):
        self._place = place

    def is_set(self) -> bool:
        return _STOPS[self._place] == 1


@contextmanager
def _passing_on(stop: threading.Event, place: int) -> Iterator[None]:
    """Inside the block a stop reaches the worker, even while the worker says nothing. Leaving it early stops the worker too."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(LOOK_SECONDS):
            if stop.is_set():
                _STOPS[place] = 1

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        _STOPS[place] = 1


@dataclass(frozen=True)
class Packed:
    """A tensor on its way between two processes."""

    values: np.ndarray


def packed(value: Any) -> Any:
    """The same value with arrays in place of its tensors, on whatever device they are."""
    return changed(value, torch.Tensor, lambda tensor: Packed(tensor.cpu().numpy()))


def unpacked(value: Any) -> Any:
    """What was `packed`, with tensors on the CPU."""
    return changed(value, Packed, lambda tensor: torch.from_numpy(tensor.values))


def changed(value: Any, kind: type, change: Callable) -> Any:
    """The same lists, tuples, dictionaries and dataclasses, with every `kind` among their values changed."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)(changed(item, kind, change) for item in value)
    if isinstance(value, dict):
        return {name: changed(item, kind, change) for name, item in value.items()}
    if is_dataclass(value) and not isinstance(value, (Method, type)):
        return replace(value, **{item.name: changed(getattr(value, item.name), kind, change) for item in fields(value) if item.init})
    return value
