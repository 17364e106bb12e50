"""Stock `generate` in a thread of its own, so that its text can be streamed, timed and stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import torch
from torch import Tensor
from transformers import LogitsProcessor, TextIteratorStreamer

from aim.engine.reduce import reduce
from aim.engine.stopping import Stopped, stoppable
from aim.kernels.trace import Trace
from aim.methods import Method
from aim.runtime.gpus import running_on


class Generation(threading.Thread):
    """Stock `generate` under `aim.reduce`, beside the thread that hands out its text. Ends before the next layer once `ended()` is true."""

    def __init__(self, model, method: Method, scores: str, arguments: dict, streamer: TimedStreamer, ended: Callable[[], bool]):
        super().__init__(daemon=True)
        self._work = (model, method, scores, arguments, streamer, ended)
        self.trace: Trace | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        model, method, scores, arguments, streamer, ended = self._work
        try:
            with (
                running_on(model.device),
                torch.inference_mode(),
                reduce(model, method, scores) as self.trace,
                stoppable(model, ended),
            ):
                model.generate(**arguments)
        except Stopped:
            streamer.end()  # hands out the word it was holding back
        except BaseException as error:  # handed to the caller's thread, which raises it
            self.error = error
        finally:
            streamer.text_queue.put(streamer.stop_signal)


class TimedStreamer(TextIteratorStreamer):
    """Notes when each token arrived. The first `put` is the prompt."""

    def __init__(self, tokenizer, **options):
        super().__init__(tokenizer, **options)
        self._start = time.perf_counter()
        self._times: list[float] = []

    @property
    def tokens(self) -> int:
        return max(0, len(self._times) - 1)

    def put(self, value) -> None:
        self._times.append(time.perf_counter())
        super().put(value)

    def timings(self) -> dict[str, float]:
        """Seconds to the first token and from there to the last; empty if none came."""
        if self.tokens == 0:
            return {}
        return {"first_token": self._times[1] - self._start, "decode": self._times[-1] - self._times[1]}


class FirstToken(LogitsProcessor):
    """Notes the log probabilities of the first token, and changes none."""

    def __init__(self):
        self.log_probabilities: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if self.log_probabilities is None:
            self.log_probabilities = scores[0].float().log_softmax(dim=-1).cpu()
        return scores
