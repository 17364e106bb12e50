"""A small trace made by hand and a model that is not one, for what draws and for what happens on a click."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch

from aim.kernels.grid import Grid
from aim.kernels.schedule import PAPER_RAMP
from aim.kernels.trace import Trace
from aim.methods import Method
from aim.methods.tower import Tower
from aim.planning.plan import Plan
from aim.runtime.vlm import Answer
from aim.video.clip import Clip, clip_from_frames

FRAMES, ROWS, COLUMNS = 2, 2, 3
ASSIGNMENT = [[0, 0, 1, 2, 0, 1], [3, 4, 4, 3, 5, 5]]
COST = {
    "prefill_tflops": 0.002,
    "baseline_tflops": 0.01,
    "speedup": 5.0,
    "causal_speedup": 4.5,
    "kv_bytes": 2000,
    "baseline_kv_bytes": 8000,
    "vision_tflops": 0.003,
    "baseline_vision_tflops": 0.003,
    "merge_tflops": 1e-6,
    "importance_tflops": 2e-6,
    "lm_head_tflops": 1e-8,
    "decode_tflops": 3e-6,
}
TIMINGS = {"merge": 0.001, "importance": 0.002, "llm_prefill": 0.02, "first_token": 0.03, "decode": 0.01, "total": 0.05}


def make_trace(scored: bool = True) -> Trace:
    """2 frames of 2×3 patches merged into 6 tokens; 3 of them are left in layer 2 and none in layer 3."""
    everything, some = torch.arange(6), torch.tensor([0, 2, 5])
    scores = [None, torch.tensor([0.4, 0.01, 0.2, 0.001, 0.02, 0.1]), torch.tensor([0.3, 0.2, 0.1]), None]
    return Trace(
        num_layers=4,
        frames=FRAMES,
        rows=ROWS,
        columns=COLUMNS,
        tokens_per_layer=[(6, 5), (6, 5), (3, 5), (0, 5)],
        assignment=torch.tensor(ASSIGNMENT),
        group_sizes=torch.tensor([3, 2, 1, 2, 2, 2]),
        survivors=[everything, everything, some, torch.zeros(0, dtype=torch.long)],
        scores=scores if scored else [None] * 4,
        key_value_lengths=[11, 11, 8, 5],
        key_value_bytes=2000,
        peak_memory_bytes=300_000_000,
        timings=TIMINGS,
    )


def make_clip(num_frames: int = FRAMES) -> Clip:
    """Frames of 40×60 pixels, each patch of another colour."""
    rng = np.random.default_rng(num_frames)
    colours = rng.integers(60, 256, (num_frames, ROWS, COLUMNS, 3), dtype=np.uint8)
    return clip_from_frames(colours.repeat(20, axis=1).repeat(20, axis=2), frames_per_second=2)


class FakeVlm:
    """Answers with `words`, one at a time; `seconds` pass between them. Records what it was asked, and remembers clips it has seen."""

    num_layers, tokens_per_frame, max_frames = 4, ROWS * COLUMNS, 8
    is_bundled, name, device, dtype = False, "fake/model", torch.device("cpu"), torch.float32
    note, ramp = "", PAPER_RAMP
    tower_limits: dict[str, str] = {}
    spent = TIMINGS["total"]  # seconds that it says a run takes

    def __init__(self, words: tuple[str, ...] = ("a ", "red ", "circle"), seconds: float = 0.0, error: Exception | None = None):
        self.words, self.seconds, self.error = words, seconds, error
        self.asked: list[SimpleNamespace] = []
        self.said = 0
        self.seen: set[str] = set()
        self.features = SimpleNamespace(bytes=0)

    def text_tokens(self, question: str, num_frames: int = 1, grid: Grid | None = None, times: Sequence[float] = ()) -> int:
        return 3 + len(question.split())

    def grid(self, num_frames: int, height: int = 360, width: int = 640) -> Grid:
        return Grid(num_frames, ROWS, COLUMNS)

    def grid_of(self, clip: Clip) -> Grid:
        return self.grid(len(clip.frames))

    def check_context(self, length: int, grid: Grid, method: Method) -> None:
        """Everything fits."""

    def fit(self, method: Method) -> Method:
        return method.for_depth(self.num_layers)

    def plan(self, num_frames: int, text_tokens: int, method: Method, grid: Grid | None = None, tower: Tower | None = None) -> Plan:
        visual = method.visual_per_layer(self.num_layers, num_frames, self.tokens_per_frame)
        pairs = [(count, text_tokens) for count in visual]
        return Plan(**{name: COST[name] for name in COST if name != "decode_tflops"}, tokens_per_layer=pairs)

    def stream(
        self,
        clip: Clip,
        question: str,
        method: Method,
        max_new_tokens: int = 64,
        stop: threading.Event | None = None,
        scores: str = "pruning",
        words: bool = False,
        progress: bool = False,
        tower: Tower | None = None,
    ) -> Iterator[Answer]:
        known = {"clip": clip, "question": question, "method": method, "tower": tower}
        self.asked.append(SimpleNamespace(**known, max_new_tokens=max_new_tokens, scores=scores))
        if self.error is not None:
            raise self.error
        text, reused = "", clip.digest in self.seen
        self.seen.add(clip.digest)
        timings = {} if reused else {"decode_video": 0.1, "preprocess": 0.01, "vision_tower": 0.2}
        made = {"model": self.name, "method": method, "tower": tower, "frames": len(clip.frames), "note": self.note}
        told = Answer(**made, timings=timings, features_reused=reused)
        yield told
        told = replace(told, timings=timings | {name: TIMINGS[name] for name in ("merge", "importance", "llm_prefill")})
        for word in self.words:
            if stop is not None and stop.is_set():
                break
            text, self.said = text + word, self.said + 1
            yield replace(told, text=text)
            time.sleep(self.seconds)
        timings |= TIMINGS | {"total": self.spent}
        yield replace(told, text=text, trace=make_trace(), timings=timings, cost=COST, new_tokens=len(self.words))

    def ask(self, clip: Clip, question: str, method: Method, max_new_tokens: int = 64, **options) -> Answer:
        *_, answer = self.stream(clip, question, method, max_new_tokens, **options)
        return answer
