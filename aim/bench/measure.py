"""One run of one variant, measured, and rounds of all variants in turns, so that a busy machine treats all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import nn
from transformers import PreTrainedModel

from aim.bench.footage import Footage
from aim.bench.variants import Variant
from aim.bench.workload import Workload, pixels_of, visual_tokens
from aim.engine import caches, seams
from aim.engine.timing import Stopwatch
from aim.families import family_of
from aim.kernels.trace import Trace
from aim.runtime.faults import is_out_of_memory
from aim.runtime.gpus import gpus_of, running_on, wait_for
from aim.runtime.memory import Peak, limit, read_held, release

REFERENCE_ROUNDS = 2
Result = TypeVar("Result")


@dataclass(frozen=True)
class Measurement:
    """What one run took.

    Attributes:
        prefill: seconds of the model's forward on the prompt: embeddings, all layers, merging and scores, the last token's logits.
        first_token: seconds from the call of `generate` to the first token.
        decode_rate: tokens a second after the first; None where only one was asked for.
        peak_bytes, held_bytes: highest memory during the run and what was held before it, as `aim.runtime.memory` counts; None where
        unknown.
        key_value_bytes: keys and values in the cache after the prefill; None before one.
        merge, importance: seconds of these stages, within `prefill`; None where they do not exist.
        tokens_per_layer: (visual, text) as executed; empty for stock models.
        before: seconds of the stages before the LLM (`aim.bench.footage.STAGES`), in a run from end to end; empty elsewhere.
        new_tokens: how many tokens were made.
        tower_tflops: the modelled cost of a reduced vision tower as it ran, in a run from end to end; None elsewhere.
    """

    prefill: float
    first_token: float
    decode_rate: float | None
    peak_bytes: int | None
    held_bytes: int | None
    key_value_bytes: int | None
    merge: float | None = None
    importance: float | None = None
    tokens_per_layer: list[tuple[int, int]] = field(default_factory=list)
    before: dict[str, float] = field(default_factory=dict)
    new_tokens: int = 1
    tower_tflops: float | None = None

    @property
    def to_first_token(self) -> float:
        """Seconds from the file, or from the frames where none was read, to the first token."""
        return sum(self.before.values()) + self.first_token

    @property
    def to_last_token(self) -> float:
        """Seconds from the file, or from the frames where none was read, to the last token."""
        return self.to_first_token + ((self.new_tokens - 1) / self.decode_rate if self.decode_rate else 0)

    @property
    def working_bytes(self) -> int | None:
        """Memory the run itself needed: without weights and libraries."""
        return None if self.peak_bytes is None or self.held_bytes is None else self.peak_bytes - self.held_bytes


@dataclass
class VariantRuns:
    """All runs of a variant by round, and why it ended early; "" where it did not."""

    runs: dict[int, Measurement] = field(default_factory=dict)
    ended: str = ""


class _Arrivals:
    """A streamer that notes when tokens come, after the device has finished them. The first `put` is the prompt."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, _value: torch.Tensor) -> None:
        self.times.append(time.perf_counter())

    def end(self) -> None:
        """Nothing is left to do."""


class _Prefill:
    """Times the first forward of a model, and reads the size of the cache at its end."""

    def __init__(self, device: torch.device):
        self.watch = Stopwatch(device)
        self.key_value_bytes: int | None = None  # None until the first forward has ended

    @contextmanager
    def observing(self, model: nn.Module) -> Iterator[None]:
        hooks = [model.register_forward_pre_hook(self._before), model.register_forward_hook(self._after)]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _before(self, *_given) -> None:
        self.start = self.watch.now()

    def _after(self, _module: nn.Module, _args: tuple, output) -> None:
        if self.key_value_bytes is None:
            self.watch.add("prefill", self.start)
            self.key_value_bytes = caches.cache_bytes(seams.cache_of(output))


def run_once(model: PreTrainedModel, variant: Variant, work: Workload, new_tokens: int, footage: Footage | None = None) -> Measurement:
    """Run a variant once: a prefill and `new_tokens` greedy tokens, past an end token too.

    With `footage` it is a run from end to end: frames are read, prepared and encoded before, by the variant's own tower. Without it random
    numbers stand for what the vision tower gives.

    Raises:
        Refusal: as `Footage.encode`.
    """
    gpus = gpus_of(model)
    prefill, arrivals = _Prefill(model.device), _Arrivals()
    release()
    with (
        running_on(model.device),
        torch.inference_mode(),
        nullcontext() if footage else visual_tokens(model, work),
        variant.enter(model, variant.method) as seen,
        prefill.observing(model),
    ):
        wait_for(gpus)  # what was set up above is done before the clock starts
        peak, held = Peak(gpus), read_held(gpus)
        asked = variant.tower, variant.method.needs_tower, variant.method.needs_pixels
        features, before, tower_tflops = footage.encode(model, *asked) if footage else ({}, {}, None)
        start = time.perf_counter()
        model.generate(  # type: ignore[operator]  # the models of every family have it, but not their common base
            **(work.inputs | features),
            max_new_tokens=new_tokens,
            min_new_tokens=new_tokens,
            do_sample=False,
            streamer=arrivals,
            pad_token_id=0,
        )
    peak_bytes = peak.read()
    first, last = arrivals.times[1], arrivals.times[-1]
    trace = seen if isinstance(seen, Trace) else None
    stages = trace.timings if trace else {}
    return Measurement(
        prefill=prefill.watch.seconds()["prefill"],
        first_token=first - start,
        decode_rate=(new_tokens - 1) / (last - first) if new_tokens > 1 else None,
        peak_bytes=peak_bytes,
        held_bytes=held,
        key_value_bytes=prefill.key_value_bytes,
        merge=stages.get("merge"),
        importance=stages.get("importance"),
        tokens_per_layer=list(trace.tokens_per_layer) if trace else [],
        before=before,
        new_tokens=new_tokens,
        tower_tflops=tower_tflops,
    )


def attempt(run: Callable[[], Result], device: torch.device, memory_limit: int | None) -> Result | str:
    """What `run` gives within a limit of memory, in bytes, or in words that memory ran out. Other errors are raised."""
    try:
        with limit(device, memory_limit):
            return run()
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
    # Not in the except block: the error must first let go of the frames that hold the tensors.
    release()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return "out of memory" if memory_limit is None else f"out of memory ({memory_limit / 1e9:.3g} GB)"


def interleave(
    run: Callable[[str], Measurement | str],
    variants: dict[str, Variant],
    rounds: int,
    progress: Callable[[str], None] = lambda _text: None,
) -> dict[str, VariantRuns]:
    """Run every variant once a round, in the table's order and in the opposite one by turns; unpaired ones only in the first few rounds.

    A variant that could not run is not tried again.
    """
    measured = {name: VariantRuns() for name in variants}
    for number in range(rounds):
        for name in list(variants)[:: -1 if number % 2 else 1]:
            here = measured[name]
            if here.ended or (number >= REFERENCE_ROUNDS and not variants[name].paired):
                continue
            result = run(name)
            if isinstance(result, str):
                here.ended = result
            else:
                here.runs[number] = result
            told = result if isinstance(result, str) else f"prefill {result.prefill:.3g} s"
            progress(f"round {number + 1} of {rounds}, {variants[name].title}: {told}")
    return measured


@dataclass(frozen=True)
class Vision:
    """Seconds to prepare and to encode `frames` frames; `ended` as in `VariantRuns`."""

    frames: int
    preprocess_seconds: float
    tower_seconds: float
    ended: str = ""


def measure_vision(model: PreTrainedModel, pictures: dict, frames: int) -> Vision:
    """Time the vision tower once on so many frames, after a warm-up on one. `pictures` are the model's picture settings."""
    family = family_of(model.config)
    with running_on(model.device), torch.inference_mode():
        family.encode(model, pixels_of(model, pictures, 1))
        start = time.perf_counter()
        pixels = pixels_of(model, pictures, frames)
        preprocess = time.perf_counter() - start
        watch = Stopwatch(model.device)
        with watch.measure("tower"):
            family.encode(model, pixels)
    return Vision(frames, preprocess, watch.seconds()["tower"])
