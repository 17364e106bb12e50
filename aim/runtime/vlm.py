"""Load a model, encode a clip once, ask about it many times."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessorList

from aim.engine.next_logits import NextLogits
from aim.engine.progress import Count, counting
from aim.engine.stopping import Stopped, stoppable
from aim.families import Encoded
from aim.kernels.bounds import FROM_1, Kind, check_choice
from aim.kernels.stop import STOP
from aim.kernels.trace import Trace
from aim.methods import AIM, Method
from aim.methods.base import METHOD
from aim.methods.tower import Tower
from aim.planning.plan import cost_of
from aim.runtime.answer import Answer, share_computed
from aim.runtime.byte_sizes import size_from_environment
from aim.runtime.checkpoints import Checkpoint, load_checkpoint
from aim.runtime.faults import within_memory
from aim.runtime.features import FEATURES_MEMORY, VARIABLE, Features
from aim.runtime.generation import FirstToken, Generation, Noting, TimedStreamer
from aim.runtime.gpus import gpus_of, running_on
from aim.runtime.loaded import LoadedModel
from aim.runtime.lock import ModelLock
from aim.runtime.memory import Peak
from aim.runtime.precision import in_a_type_that_holds
from aim.runtime.question import inputs_for, note_on
from aim.runtime.waiting import LOOK_SECONDS, working
from aim.runtime.words import NextTokens, words_of
from aim.video.clip import CLIP, Clip, check_frames


def load(
    name: str = "bundled", device: str | torch.device | None = None, dtype: torch.dtype | None = None, quantization: str | None = None
) -> VLM:
    """A model that can be asked. The arguments are those of `aim.runtime.checkpoints.load_checkpoint`.

    Where float16 was picked by default and does not hold the model's values, the model is loaded again in float32.

    Raises:
        Refusal: as `load_checkpoint`; or the environment's AIM_FEATURES_MEMORY is no size.
    """
    return in_a_type_that_holds(lambda picked: VLM(load_checkpoint(name, device, picked, quantization)), dtype)


# Arguments of `generate` that would make several rows of one prompt.
ONE_ANSWER = ("num_beams", "num_return_sequences")


class VLM(LoadedModel):
    """A loaded model that can be asked. It does one run at a time, and a second caller waits.

    Attributes:
        features: those of the last clips, bounded by the environment's AIM_FEATURES_MEMORY, 512 MiB by default.
        lock: `lock.holder` is who runs the model now.
    """

    def __init__(self, checkpoint: Checkpoint):
        super().__init__(checkpoint)
        self.features = Features(checkpoint, size_from_environment(VARIABLE, FEATURES_MEMORY))
        self.lock = ModelLock()

    def ask(
        self,
        clip: Clip,
        question: str,
        method: Method | None = None,
        max_new_tokens: int = 64,
        words: bool = False,
        tower: Tower | None = None,
        **generation,
    ) -> Answer:
        """Answer a question about a clip.

        Args:
            clip: from `aim.read_video`, or a picture from `aim.read_image`, which goes in through the model's own image prompt, as a whole
                and without tiles.
            question: 1 to 2,000 characters.
            method: what to merge and drop; by default `aim.AIM()`, the paper's setting scaled to this model.
            max_new_tokens: at least 1.
            words: tell in `Answer.words` what each word looked at, and which words were next best. It costs nothing where it is left out.
            tower: merge patches inside the vision tower too, or reuse what stands still, for example `aim.Tower(merge=0.3)` or
                `aim.Tower(reuse=8/255)`; by default it runs in full.
            **generation: passed to `generate`, for example `do_sample=True, temperature=0.7`. It is greedy by default.

        Returns:
            The complete answer.

        Raises:
            Refusal: the question or a limit is out of range, several beams or answers are asked for, the prompt is longer than the model's
                context, the family does not take these frames or a picture, its tower cannot be reduced, or the model is held
                (`aim.runtime.lock`).
            aim.runtime.faults.NotEnoughMemory: a Refusal; the run does not fit into memory here. The next one starts from freed memory.
            aim.engine.finite.NotFinite: a Refusal; the model gave NaN or infinity.
        """
        last = deque(self.stream(clip, question, method, max_new_tokens, words=words, tower=tower, **generation), maxlen=1)
        return last[0] if last else Answer(model=self.name)

    def stream(
        self,
        clip: Clip,
        question: str,
        method: Method | None = None,
        max_new_tokens: int = 64,
        stop: threading.Event | None = None,
        scores: str = "pruning",
        words: bool = False,
        progress: bool = False,
        tower: Tower | None = None,
        **generation,
    ) -> Iterator[Answer]:
        """As `ask`, but it yields the answer while it grows.

        The first answer comes when the clip is encoded, and has no text. Then one comes with every token, the first of them when the
        prefill has ended. The last one is complete. With `progress` more come before the first word, which only tell how far the run is.

        Setting `stop` or closing the iterator ends the model before its next layer, in the vision tower too. What was said until then is
        the complete answer. Where that was before the first token, the last answer has no trace. `scores` is passed to `aim.reduce`.

        The iterator holds the model until it ends, is closed, or is collected as garbage. Asking in the middle of it is refused. So is
        waiting for an iterator that nobody advances any more (`aim.runtime.lock`). Raises what `ask` raises.
        """
        method = AIM() if method is None else method
        CLIP.check("clip", clip)
        METHOD.check("method", method)
        FROM_1.check("max_new_tokens", max_new_tokens, "Use 64, for example.")
        STOP.check("stop", stop)
        for name in ONE_ANSWER:
            if generation.get(name) is not None:
                check_choice(name, generation[name], (1,), "An answer grows word by word, so there is one. Leave it out.")
        method, tower = self.fit(method), self.fit_tower(tower)
        grid = self.grid_of(clip)
        self.check_context(len(self.prompt_ids(question, grid, clip.timestamps.tolist())), grid, method)
        stop = threading.Event() if stop is None else stop
        count = Count(len(clip.frames), self.tower_tokens(clip, tower)) if progress else None
        try:
            with (
                self.lock.held("an answer", stop.is_set) as holder,
                self.within_memory(len(clip.frames), method),
                nullcontext() if count is None else counting(self.model, count),
                closing(self._answers(clip, question, method, max_new_tokens, stop, scores, words, tower, count, generation)) as answers,
            ):
                for answer in answers:
                    with holder.resting():
                        yield answer
        except Stopped:  # while it waited, or before the first token
            return

    def _answers(
        self,
        clip: Clip,
        question: str,
        method: Method,
        max_new_tokens: int,
        stop: threading.Event,
        scores: str,
        words: bool,
        tower: Tower | None,
        count: Count | None,
        generation: dict[str, Any],
    ) -> Generator[Answer]:
        """What `stream` yields. The caller holds the model. `count` is of its layers, None where it is not wanted.

        Raises Stopped where the vision tower was stopped.
        """
        left = threading.Event()

        def ended() -> bool:
            return stop.is_set() or left.is_set()

        started = time.perf_counter()
        peak = Peak(gpus_of(self.model))
        note = note_on(self.checkpoint, question, clip.is_image)
        answer = Answer(model=self.name, method=method, tower=tower, frames=len(clip.frames), note=note)
        with stoppable(self.model, ended):
            if count is None:
                encoded, timings = self.features.of(clip, tower, method.needs_tower, method.needs_pixels)
            else:
                with working(partial(self.features.of, clip, tower, method.needs_tower, method.needs_pixels), left.set) as work:
                    for _ in work.looks():
                        if (news := count.news()) is not None:
                            yield replace(answer, progress=news)
                    count.prefills = True
                    encoded, timings = work.result()
        computed = share_computed(encoded.tower_lengths)
        answer = replace(answer, timings=timings, features_reused="vision_tower" not in timings, tower_computed=computed)
        yield answer
        patience = None if count is None else LOOK_SECONDS
        streamer = TimedStreamer(self.checkpoint.tokenizer, patience, skip_prompt=True, skip_special_tokens=True)
        own, first, next_tokens = NextLogits(), FirstToken(), NextTokens()
        arguments = {
            **self.inputs(question, encoded),
            "max_new_tokens": max_new_tokens,
            "streamer": streamer,
            "do_sample": False,
            **dict.fromkeys(ONE_ANSWER, 1),  # whatever a generation_config.json says
            **generation,
            "logits_processor": LogitsProcessorList(
                [Noting(own, [first, *[next_tokens] * words]), *(generation.get("logits_processor") or [])]
            ),
        }
        worker = Generation(self.model, method, scores, arguments, streamer, ended, own, attention=words)
        worker.start()
        try:
            for text in streamer.texts():
                if text is None:
                    if count is not None and streamer.tokens == 0 and (news := count.news()) is not None:
                        yield replace(answer, progress=news)
                    continue
                answer = replace(answer, text=answer.text + text, timings=timings | worker.trace.timings)
                yield answer
        finally:
            left.set()
            worker.join()
        if worker.error is not None:
            raise worker.error
        if streamer.tokens == 0:
            return
        trace = worker.trace or Trace()
        trace.peak_memory_bytes = peak.read()
        timings = timings | trace.timings | streamer.timings() | {"total": time.perf_counter() - started}
        trace.timings = timings
        executed = trace.tokens_per_layer, trace.frames, trace.visual_tokens
        size, tokens = self.dtype.itemsize, streamer.tokens
        before = encoded.grid, tower, encoded.tower_lengths
        cost = cost_of(self.model.config, *executed, method, size, tokens, *before)
        text = answer.text.strip()
        yield replace(
            answer,
            text=text,
            trace=trace,
            timings=timings,
            cost=cost,
            new_tokens=streamer.tokens,
            next_token=first.log_probabilities,
            words=words_of(text, streamer.ids, next_tokens, trace, self.checkpoint.tokenizer) if words else (),
        )

    def within_memory(self, frames: int, method: Method) -> AbstractContextManager[None]:
        """A block that is refused with a sentence where memory runs out in it. What the run held and all kept features are freed then.

        Raises:
            aim.runtime.faults.NotEnoughMemory: a Refusal; memory ran out.
        """
        return within_memory(f"{frames} frames under {method.name}", self.features.clear)

    def encode(self, frames: np.ndarray, tower: Tower | None = None, compared: bool = False) -> Encoded:
        """See `Features.encode`. It refuses what `ask` refuses."""
        check_frames(frames)
        return self.features.encode(frames, tower, compared)

    @contextmanager
    def encoded(
        self,
        clip: Clip,
        known: Encoded | None = None,
        stop: threading.Event | None = None,
        tower: Tower | None = None,
        watched: bool = True,
        compared: bool = False,
    ) -> Iterator[Encoded]:
        """A block with the clip's features, in which nobody else runs the model. They are `known`, or kept ones, or made now.

        With `watched` those that are kept or made tell what the vision tower attended to, which some methods read, and with `compared` how
        pixels change from frame to frame.

        Raises:
            Stopped: `stop` was set while it waited, or in the block before the model's next layer.
            Refusal: as `stream`.
        """
        CLIP.check("clip", clip)
        STOP.check("stop", stop)
        tower = self.fit_tower(tower)
        ended = (threading.Event() if stop is None else stop).is_set
        with self.lock.held("a measurement", ended), stoppable(self.model, ended), running_on(self.device):
            yield known or self.features.of(clip, tower, watched, compared)[0]

    def inputs(self, question: str, encoded: Encoded) -> dict[str, Any]:
        """The arguments of the model's forward and `generate` for a question about an encoded clip, as a batch of 1."""
        return inputs_for(self.checkpoint, self.prompt_ids(question, encoded.grid, encoded.times), encoded)


LOADED = Kind(VLM, "a loaded model", "Load one with aim.load.")
