"""AIM settings that just fit a budget, by their modelled cost. No model is run here."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice

from aim.kernels.counts import share_of, tokens_of
from aim.kernels.schedule import PAPER_RAMP, StatedRamp, merged_per_frame
from aim.methods import AIM

STARTS = (1.0, 0.75, 0.5, 0.35, 0.25, 0.15, 0.1, 0.05, 0.0)  # merge ratios of the coarse grid; 0 is one token a frame
PLACES = ("compact", "original")


@dataclass(frozen=True)
class Candidate:
    """A setting and the number of frames it runs on."""

    method: AIM
    frames: int


class Space:
    """The settings within a budget.

    Args:
        fits: whether a candidate is within the budget. If one is, so are those with fewer tokens in every layer.
        num_layers: of the LLM.
        tokens_per_frame: visual tokens of a frame before merging.
        frames: the numbers of frames to choose from, the clip's own first.
        places: values of `positions` that make a difference, the paper's first.
        ramp: the paper's l1 and l2 for the model's family.
    """

    def __init__(
        self,
        fits: Callable[[Candidate], bool],
        num_layers: int,
        tokens_per_frame: int,
        frames: tuple[int, ...],
        places: tuple[str, ...] = PLACES,
        ramp: StatedRamp = PAPER_RAMP,
    ):
        self.fits, self.num_layers, self.tokens_per_frame, self.frames, self.places = (
            cache(fits),
            num_layers,
            tokens_per_frame,
            frames,
            places,
        )
        self.ramp = ramp
        # ratios[i] leaves i + 1 tokens of a frame.
        self.ratios = [ratio_of(tokens, tokens_per_frame) for tokens in range(1, tokens_per_frame + 1)]

    def narrowed(self, fits: Callable[[Candidate], bool]) -> Space:
        """The same space under another condition."""
        return Space(fits, self.num_layers, self.tokens_per_frame, self.frames, self.places, self.ramp)

    def cheapest(self) -> Candidate:
        """The cheapest setting: one token a frame, which is gone after the first layer."""
        return Candidate(AIM(self.ratios[0], 0, 1), min(self.frames))

    def preset(self, positions: str) -> Candidate | None:
        """The paper's setting, its merge ratio scaled down until it fits; None where even one token a frame costs too much."""
        paper = replace(AIM().for_depth(self.num_layers, self.ramp), positions=positions)
        whole = Candidate(paper, self.frames[0])
        return whole if self.fits(whole) else self.fill(whole)

    def paper_ramp(self, positions: str) -> Candidate | None:
        """The paper's l1 and l2 with the largest merge ratio that fits, even above the paper's; None where none fits."""
        return self.fill(Candidate(replace(AIM().for_depth(self.num_layers, self.ramp), positions=positions), self.frames[0]))

    def coarse(self, positions: str, seed: int) -> list[Candidate]:
        """A grid of merge ratios and l1, each with the l2 that just fits. The l1 take turns; each has its ratios in a random order."""
        rows = []
        for l1 in sorted({round(self.num_layers * quarter / 4) for quarter in range(5)}):
            for frames in self.frames:
                row = [self.widest(ratio, l1, positions, frames) for ratio in self._starts()]
                rows.append([filled for candidate in row if candidate and (filled := self.fill(candidate))])
        order = random.Random(seed)
        for filled_row in rows:
            order.shuffle(filled_row)
        depth = max(map(len, rows))
        return [filled_row[place] for place in range(depth) for filled_row in rows if place < len(filled_row)]

    def around(self, best: Candidate) -> Iterator[Candidate]:
        """Settings near one, each just within the budget.

        First l1 and l2 are moved, with the merge ratio that then fits. Next come fewer tokens a frame with a longer ramp, and last other
        positions and other numbers of frames.
        """
        method, (start, end) = best.method, best.method.ramp_layers(self.num_layers)
        for step in dict.fromkeys((max(1, self.num_layers // 8), 1)):
            for first, last in ((0, 1), (1, 1), (1, 0), (-1, 0), (0, -1), (-1, -1), (-1, 1), (1, -1)):
                l1, l2 = start + first * step, end + last * step
                if 0 <= l1 < l2 <= self.num_layers + 1:
                    yield from self._some(self.fill(replace(best, method=replace(method, l1=l1, l2=l2))))
        for share in (0.8, 0.6, 0.4):
            yield from self._some(self.widest(self._ratio(share * method.merge_ratio), start, method.positions, best.frames))
        for positions in self.places:
            if positions != method.positions:
                yield from self._some(self.fill(replace(best, method=replace(method, positions=positions))))
        for frames in self.frames:
            if frames != best.frames:
                yield from self._some(self.fill(replace(best, frames=frames)))

    def paper_least(self, positions: str) -> Candidate:
        """The paper's l1 and l2 at one token a frame, whether or not that fits."""
        return Candidate(replace(AIM(self.ratios[0]).for_depth(self.num_layers, self.ramp), positions=positions), self.frames[0])

    def widest(self, ratio: float, l1: int, positions: str, frames: int) -> Candidate | None:
        """The setting with the largest l2 that fits, up to just behind the last layer; None where none fits."""
        ends = range(l1 + 1, max(self.num_layers + 1, l1 + 1) + 1)
        row = [Candidate(AIM(ratio, l1, l2, positions), frames) for l2 in ends]
        count = bisect_right(row, False, key=lambda candidate: not self.fits(candidate))
        return row[count - 1] if count else None

    def same_run(self, candidate: Candidate) -> tuple:
        """A key that is equal for candidates whose layers run on the same tokens."""
        visual = candidate.method.visual_per_layer(self.num_layers, candidate.frames, self.tokens_per_frame)
        merged = merged_per_frame(candidate.method.merge_ratio, self.tokens_per_frame)
        places = candidate.method.positions if merged < self.tokens_per_frame else ""
        return candidate.frames, tuple(visual), places

    def fill(self, candidate: Candidate) -> Candidate | None:
        """The same setting with the largest merge ratio that fits; None where none fits."""
        row = [replace(candidate, method=replace(candidate.method, merge_ratio=ratio)) for ratio in self.ratios]
        count = bisect_right(row, False, key=lambda one: not self.fits(one))
        return row[count - 1] if count else None

    def _starts(self) -> list[float]:
        return list(dict.fromkeys(self._ratio(share) for share in STARTS))

    def _ratio(self, share: float) -> float:
        return self.ratios[max(1, tokens_of(share, self.tokens_per_frame)) - 1]

    @staticmethod
    def _some(candidate: Candidate | None) -> list[Candidate]:
        return [candidate] if candidate else []


def ratio_of(tokens: int, tokens_per_frame: int) -> float:
    """The shortest merge ratio found that leaves so many of a frame's tokens: a multiple of 0.005, as on sliders, else of 0.0001."""
    for steps in (200, 10_000):
        ratio = share_of(tokens, tokens_per_frame, steps)
        if merged_per_frame(ratio, tokens_per_frame) == tokens:
            return ratio
    return tokens / tokens_per_frame + 1e-9


def proposals(space: Space, seed: int, most: int, found: Callable[[], list[tuple[float, Candidate]]]) -> Iterator[Candidate]:
    """What to try next. Candidates whose layers run on the same tokens come once.

    First come the paper's settings and a coarse grid, for about half of `most`. Then come the settings around the best so far, and the rest
    of the grid once nothing new is around it.

    Args:
        seed: of the coarse grid's order.
        most: how many will be asked for.
        found: the (divergence in nats, candidate) pairs so far, those of all candidates given before included.
    """
    seen: set[tuple] = set()

    def new(candidates) -> Iterator[Candidate]:
        for candidate in candidates:
            if candidate is not None and space.same_run(candidate) not in seen:
                seen.add(space.same_run(candidate))
                yield candidate

    yield from new([space.preset(space.places[0]), *(space.paper_ramp(positions) for positions in space.places)])
    presets = {candidate.method.positions: divergence for divergence, candidate in found()}
    positions = min(presets, key=lambda place: presets[place]) if presets else space.places[-1]
    coarse = new(space.coarse(positions, seed))
    yield from islice(coarse, max(1, most // 2 - 1 - len(space.places)))
    best = None
    while True:
        following = min(found(), key=lambda pair: pair[0], default=None)
        near = () if following is None or following == best else new(space.around(following[1]))
        best = following
        for candidate in near:
            yield candidate
            if min(found(), key=lambda pair: pair[0], default=None) != best:
                break
        else:  # nothing new is around the best, so the coarse grid goes on
            further = next(coarse, None)
            if further is None:
                return
            yield further
