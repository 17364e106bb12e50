"""Load a model, encode a clip once, ask about it many times."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from transformers import LogitsProcessorList

from aim.engine.stopping import Stopped, stoppable
from aim.families import Encoded
from aim.kernels.grid import Grid
from aim.methods import AIM, Method
from aim.planning.plan import Plan, cost_of, plan_for
from aim.runtime.answer import Answer
from aim.runtime.byte_sizes import size_from_environment
from aim.runtime.checkpoints import Checkpoint, load_checkpoint
from aim.runtime.faults import within_memory
from aim.runtime.features import FEATURES_MEMORY, VARIABLE, Features
from aim.runtime.generation import FirstToken, Generation, TimedStreamer
from aim.runtime.gpus import gpus_of, running_on
from aim.runtime.limits import MAX_FRAMES_OFFERED, MAX_QUESTION
from aim.runtime.lock import ModelLock
from aim.runtime.memory import Peak
from aim.runtime.precision import in_a_type_that_holds
from aim.runtime.question import note_on, prompt_ids
from aim.video.clip import Clip


def load(
    name: str = "bundled", device: str | torch.device | None = None, dtype: torch.dtype | None = None, quantization: str | None = None
) -> VLM:
    """A model ready to be asked; see `aim.runtime.checkpoints.load_checkpoint` for the arguments and errors.

    Where float16 was picked here and does not hold the model's values, the model is loaded again in float32.
    """
    return in_a_type_that_holds(lambda picked: VLM(load_checkpoint(name, device, picked, quantization)), dtype)


class VLM:
    """A loaded model with the features of the last clips (`Features`). One run at a time: a second caller waits.

    Attributes:
        features: bounded by the environment's AIM_FEATURES_MEMORY, 512 MiB by default.
        lock: `lock.holder` tells who runs the model now.
        max_question: the longest question accepted, in characters; benchmarks raise it.
    """

    max_question = MAX_QUESTION

    def __init__(self, checkpoint: Checkpoint):
        self.checkpoint = checkpoint
        self.name, self.model = checkpoint.name, checkpoint.model
        self.features = Features(checkpoint, size_from_environment(VARIABLE, FEATURES_MEMORY))
        self.lock = ModelLock()

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def dtype(self) -> torch.dtype:
        return self.model.dtype

    @property
    def is_bundled(self) -> bool:
        return self.name == "bundled"

    @property
    def num_layers(self) -> int:
        return self.model.config.text_config.num_hidden_layers

    @property
    def tokens_per_frame(self) -> int:
        """Visual tokens of a frame; where they depend on its size, of one of 640 x 360 pixels."""
        return self.grid(1).tokens

    @property
    def max_frames(self) -> int:
        """Frames whose unmerged tokens fit the trained context with room for a question, `MAX_FRAMES_OFFERED` at most."""
        room = self.model.config.text_config.max_position_embeddings - 512
        fitting = (frames for frames in range(MAX_FRAMES_OFFERED, 1, -1) if self.grid(frames).tokens <= room)
        return next(fitting, 1)

    def grid(self, num_frames: int, height: int = 360, width: int = 640) -> Grid:
        """The grid of visual tokens of so many frames of that size, before merging."""
        return self.checkpoint.family.grid(self.model.config, self.checkpoint.pictures, num_frames, height, width)

    def plan(self, num_frames: int, text_tokens: int, method: Method, grid: Grid | None = None) -> Plan:
        """What a run would cost, in the model's own bytes per value, without running it; see `aim.plan`.

        `grid` is the clip's; None: that of frames of 640 x 360 pixels.
        """
        return plan_for(self.model.config, num_frames, text_tokens, method, self.dtype.itemsize, grid or self.grid(num_frames))

    def text_tokens(self, question: str, num_frames: int = 1) -> int:
        """Tokens of the prompt that are not patches: words, chat markers, separators."""
        grid = self.grid(num_frames)
        return len(self.prompt_ids(question, grid)) - grid.tokens

    def ask(self, clip: Clip, question: str, method: Method | None = None, max_new_tokens: int = 64, **generation) -> Answer:
        """Answer a question about a clip.

        Args:
            clip: from `aim.read_video`.
            question: 1 to 2,000 characters.
            method: default `aim.AIM()`, the paper's setting scaled to this model.
            max_new_tokens: at least 1.
            **generation: passed to `generate`, for example `do_sample=True, temperature=0.7`. Greedy by default.

        Raises:
            ValueError: question or limits out of range, or a prompt longer than the model's context.
            NotEnoughMemory: a ValueError; the run does not fit here. The next one starts from freed memory.
        """
        last = deque(self.stream(clip, question, method, max_new_tokens, **generation), maxlen=1)
        return last[0] if last else Answer(model=self.name)

    def stream(
        self,
        clip: Clip,
        question: str,
        method: Method | None = None,
        max_new_tokens: int = 64,
        stop: threading.Event | None = None,
        scores: str = "pruning",
        **generation,
    ) -> Iterator[Answer]:
        """As `ask`, yielding the answer while it grows: first without text, when the clip is encoded, then with every token, the first of
        which comes when the prefill has ended. The last one is complete.

        Setting `stop` or closing the iterator ends the model before its next layer, in the vision tower too; what was said until then is
        the complete answer, and before the first token there is none: the last answer has no trace. `scores` is passed to `aim.reduce`.

        The iterator holds the model until its end. Asking in the middle of it is refused, and so is waiting for one that nobody advances
        any more (`aim.runtime.lock`). It lets go once it is closed, or collected as garbage.
        """
        method = (method or AIM()).for_depth(self.num_layers)
        if max_new_tokens < 1:
            raise ValueError(f"max_new_tokens is {max_new_tokens}; at least one token must be generated. Use 64, for example.")
        grid = self.grid(len(clip.frames), *clip.frames.shape[1:3])
        self.check_context(len(self.prompt_ids(question, grid)), grid, method)
        stop = stop or threading.Event()
        try:
            with (
                self.lock.held("an answer", stop.is_set) as holder,
                self.within_memory(len(clip.frames), method),
                closing(self._answers(clip, question, method, max_new_tokens, stop, scores, generation)) as answers,
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
        generation: dict[str, Any],
    ) -> Iterator[Answer]:
        """What `stream` yields, for whoever holds the model. Raises Stopped where the tower was stopped."""
        left = threading.Event()

        def ended() -> bool:
            return stop.is_set() or left.is_set()

        started = time.perf_counter()
        peak = Peak(gpus_of(self.model))
        with stoppable(self.model, stop.is_set):
            encoded, timings = self.features.of(clip)
        answer = Answer(
            model=self.name,
            method=method,
            frames=len(clip.frames),
            timings=timings,
            features_reused="vision_tower" not in timings,
            note=note_on(self.checkpoint.tokenizer, question),
        )
        yield answer
        streamer = TimedStreamer(self.checkpoint.tokenizer, skip_prompt=True, skip_special_tokens=True)
        first = FirstToken()
        arguments = {
            **self.inputs(question, encoded),
            "max_new_tokens": max_new_tokens,
            "streamer": streamer,
            "logits_processor": LogitsProcessorList([first]),
            "do_sample": False,
            **generation,
        }
        worker = Generation(self.model, method, scores, arguments, streamer, ended)
        worker.start()
        try:
            for text in streamer:
                answer = replace(answer, text=answer.text + text, timings=timings | worker.trace.timings)
                yield answer
        finally:
            left.set()
            worker.join()
        if worker.error is not None:
            raise worker.error
        if streamer.tokens == 0:
            return
        trace = worker.trace
        trace.peak_memory_bytes = peak.read()
        timings = timings | trace.timings | streamer.timings() | {"total": time.perf_counter() - started}
        trace.timings = timings
        cost = cost_of(
            self.model.config,
            trace.tokens_per_layer,
            trace.frames,
            trace.visual_tokens,
            method,
            self.dtype.itemsize,
            new_tokens=streamer.tokens,
            grid=encoded.grid,
        )
        yield replace(
            answer,
            text=answer.text.strip(),
            trace=trace,
            timings=timings,
            cost=cost,
            new_tokens=streamer.tokens,
            next_token=first.log_probabilities,
        )

    def within_memory(self, frames: int, method: Method) -> AbstractContextManager[None]:
        """Turns running out of memory into a sentence, and frees what the run held, the features of earlier clips among it."""
        return within_memory(f"{frames} frames under {method.name}", self.features.clear)

    def encode(self, frames: np.ndarray) -> Encoded:
        """Run the vision tower on uint8 [F, H, W, 3]; nothing is remembered."""
        return self.features.encode(frames)

    @contextmanager
    def encoded(self, clip: Clip, known: Encoded | None = None, stop: threading.Event | None = None) -> Iterator[Encoded]:
        """The clip's features, `known` or kept ones if there are; nobody else runs the model as long as the block lasts.

        Raises:
            Stopped: `stop` was set while it waited, or as long as the block lasts before the model's next layer.
            Refusal: as `stream`.
        """
        ended = (stop or threading.Event()).is_set
        with self.lock.held("a measurement", ended), stoppable(self.model, ended), running_on(self.device):
            yield known or self.features.of(clip)[0]

    def inputs(self, question: str, encoded: Encoded) -> dict[str, Any]:
        """What the model's forward and `generate` take for a question about an encoded clip, batch 1."""
        family, config = self.checkpoint.family, self.model.config
        ids = torch.tensor([self.prompt_ids(question, encoded.grid)], device=self.device)
        inputs: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_encoder_outputs": encoded.features}
        if family.token_types:
            inputs["mm_token_type_ids"] = (ids == family.image_token(config)).int() + 2 * (ids == family.video_token(config)).int()
        return inputs | {name: _moved(value, self.device) for name, value in encoded.inputs.items()}

    def prompt_ids(self, question: str, grid: Grid) -> list[int]:
        """The chat prompt's ids for a question about one clip of this grid.

        Raises:
            ValueError: a question that is empty or too long.
        """
        return prompt_ids(self.checkpoint, question, grid, self.max_question)

    def check_context(self, length: int, grid: Grid, method: Method) -> None:
        """Refuse a prompt of `length` tokens whose positions would run past what the model was trained on.

        Raises:
            ValueError: it is too long.
        """
        limit, longest = self.model.config.text_config.max_position_embeddings, length
        if length > limit and method.positions != "original":
            longest -= grid.tokens - method.merged_tokens(grid.frames, grid.tokens_per_frame)
        if longest > limit:
            raise ValueError(
                f"The clip and the question make a prompt of {longest:,} tokens; this model takes {limit:,}. "
                "Use fewer frames or keep fewer tokens."
            )


def _moved(value: Any, device: torch.device) -> Any:
    return value.to(device) if hasattr(value, "to") else value
