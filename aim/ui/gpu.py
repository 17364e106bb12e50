"""Where the model runs. On a ZeroGPU Space this is a worker, which holds the GPU for as long as a run lasts. Elsewhere it is this process.

On ZeroGPU the package `spaces` forks a process for each call. The model comes along with the fork. Arguments and results are pickled, so
only plain values cross: frames, words and knobs on the way in, answers with arrays instead of tensors on the way out. Decoding and drawing
stay outside.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch

from aim.methods import AIM, Method
from aim.runtime.answer import Answer
from aim.video.clip import Clip

# These make the time asked of ZeroGPU, which checks it against a visitor's quota before the run. They are cautious guesses and were not
# measured: a prefill reaches a small part of the card's peak, and a token takes about as long as launching its kernels.
START_SECONDS, TFLOPS_A_SECOND, SECONDS_A_TOKEN = 5, 20.0, 0.05
SHORTEST, LONGEST = 10, 120


def placed(vlm, gpu: Callable | None = None):
    """The model as the app should use it. With ZeroGPU this is one with the same methods that runs in the worker, else the model itself.

    Args:
        gpu: the decorator, called as `gpu(duration=estimate)(function)`; default `spaces.GPU` where app.py could import it.
    """
    gpu = gpu or getattr(sys.modules.get("spaces"), "GPU", None)
    if gpu is None:
        return vlm

    def run(clip: Clip, question: str, method: Method | None, max_new_tokens: int, options: dict[str, Any]) -> Iterator[Answer | Exception]:
        try:
            for answer in vlm.stream(clip, question, method, max_new_tokens, **options):
                yield changed(answer, torch.Tensor, lambda tensor: tensor.cpu().numpy())
        except ValueError as error:  # raised, it would come back as "ZeroGPU worker error"
            yield error.with_traceback(None)

    def estimate(clip: Clip, question: str, method: Method | None, max_new_tokens: int, options: dict[str, Any]) -> int:
        return seconds(vlm, clip, question, method, max_new_tokens)

    decorated = gpu(duration=estimate)(run)
    return vlm if decorated is run else Remote(vlm, decorated)  # outside of ZeroGPU `spaces.GPU` gives the function back


class Remote:
    """A model that runs elsewhere. Everything but its runs is read from the model here."""

    def __init__(self, vlm, run: Callable[..., Iterator[Answer | Exception]]):
        self._vlm, self._run = vlm, run

    def __getattr__(self, name: str):
        return getattr(self._vlm, name)

    def ask(self, clip: Clip, question: str, method: Method | None = None, max_new_tokens: int = 64, **options) -> Answer:
        """As `VLM.ask`."""
        last = deque(self.stream(clip, question, method, max_new_tokens, **options), maxlen=1)
        return last[0] if last else Answer(model=self._vlm.name)

    def stream(
        self, clip: Clip, question: str, method: Method | None = None, max_new_tokens: int = 64, stop=None, **options
    ) -> Iterator[Answer]:
        """As `VLM.stream`, but a stop is noticed only between two answers. The run then ends without a trace."""
        for answer in self._run(clip, question, method, max_new_tokens, options):
            if isinstance(answer, Exception):
                raise answer
            yield changed(answer, np.ndarray, torch.from_numpy)
            if stop is not None and stop.is_set():
                return


def seconds(vlm, clip: Clip, question: str, method: Method | None, max_new_tokens: int) -> int:
    """How long a run may need on ZeroGPU, from its modelled cost, in whole seconds from `SHORTEST` to `LONGEST`."""
    grid = vlm.grid(len(clip.frames), *clip.frames.shape[1:3])
    plan = vlm.plan(len(clip.frames), vlm.text_tokens(question, len(clip.frames)), (method or AIM()).for_depth(vlm.num_layers), grid)
    work = plan.vision_tflops + plan.merge_tflops + plan.prefill_tflops + plan.importance_tflops
    return int(min(LONGEST, max(SHORTEST, START_SECONDS + work / TFLOPS_A_SECOND + max_new_tokens * SECONDS_A_TOKEN)))


def changed(value: Any, kind: type, change: Callable) -> Any:
    """The same lists, tuples, dictionaries and dataclasses, with every `kind` among their values changed."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, (list, tuple)):
        return type(value)(changed(item, kind, change) for item in value)
    if isinstance(value, dict):
        return {name: changed(item, kind, change) for name, item in value.items()}
    if is_dataclass(value) and not isinstance(value, Method):
        return replace(value, **{item.name: changed(getattr(value, item.name), kind, change) for item in fields(value)})
    return value
