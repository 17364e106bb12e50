"""Stock `generate` in a thread of its own. Its text can so be streamed, timed and stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from queue import Empty
from typing import Any

import torch
from torch import Tensor
from transformers import LogitsProcessor, PreTrainedModel, PreTrainedTokenizerBase, TextIteratorStreamer

from aim.engine.next_logits import NextLogits
from aim.engine.reduce import reduce
from aim.engine.stopping import Stopped, stoppable
from aim.kernels.trace import Trace
from aim.methods import Method
from aim.runtime.gpus import running_on


class Generation(threading.Thread):
    """Stock `generate` under `aim.reduce`, beside the thread that hands out its text. It ends before the next layer once `ended()` is true.

    Attributes:
        trace: the record of the prefill; None until the thread has begun.
        error: what was raised in the thread, for the caller's thread to raise; None where nothing was.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        method: Method,
        scores: str,
        arguments: dict[str, Any],
        streamer: TimedStreamer,
        ended: Callable[[], bool],
        logits: NextLogits,
        attention: bool = False,
    ):
        super().__init__(daemon=True)
        self._work = (model, method, scores, arguments, streamer, ended, logits, attention)
        self.trace: Trace | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        model, method, scores, arguments, streamer, ended, logits, attention = self._work
        try:
            with (
                running_on(model.device),
                torch.inference_mode(),
                reduce(model, method, scores, attention) as self.trace,
                logits.of(model),
                stoppable(model, ended),
            ):
                model.generate(**arguments)  # type: ignore[operator]  # the models of every family have it, but not their common base
        except Stopped:
            streamer.end()  # it hands out the word that it was holding back
        except BaseException as error:  # the caller's thread raises it
            self.error = error
        finally:
            streamer.text_queue.put(streamer.stop_signal)


class TimedStreamer(TextIteratorStreamer):
    """Notes when each token arrived. The first `put` is the prompt.

    Attributes:
        ids: of the tokens that were generated so far.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, timeout: float | None = None, **options: bool):
        super().__init__(tokenizer, timeout=timeout, **options)
        self._start = time.perf_counter()
        self._times: list[float] = []
        self.ids: list[int] = []

    @property
    def tokens(self) -> int:
        """How many tokens were generated so far."""
        return max(0, len(self._times) - 1)

    def put(self, value: Tensor) -> None:
        """Take the prompt's ids, and then each token's."""
        if self._times:
            self.ids += value.flatten().tolist()
        self._times.append(time.perf_counter())
        super().put(value)

    def texts(self) -> Iterator[str | None]:
        """The pieces of text until the end. None comes each time that `timeout` seconds have brought none."""
        while True:
            try:
                yield next(self)
            except Empty:
                yield None
            except StopIteration:
                return

    def timings(self) -> dict[str, float]:
        """Seconds from the start to the first token (`first_token`) and from there to the last (`decode`); empty if none came."""
        if self.tokens == 0:
            return {}
        return {"first_token": self._times[1] - self._start, "decode": self._times[-1] - self._times[1]}


class Noting(LogitsProcessor):
    """Shows the model's own logits to `notes` at each token, whatever `generate` has made of them by then, and changes none.

    Args:
        logits: the model's own.
        notes: each called with the ids so far, [n], and the logits of the next token, float32 [vocabulary].
    """

    def __init__(self, logits: NextLogits, notes: Sequence[Callable[[Tensor, Tensor], None]]):
        self._logits, self._notes = logits, notes

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        for note in self._notes:
            note(input_ids[0], self._logits.latest)
        return scores


class FirstToken:
    """Notes the log probabilities of the first token, float32 [vocabulary] on the CPU."""

    def __init__(self) -> None:
        self.log_probabilities: Tensor | None = None

    def __call__(self, ids: Tensor, logits: Tensor) -> None:
        if self.log_probabilities is None:
            self.log_probabilities = logits.log_softmax(dim=-1).cpu()
