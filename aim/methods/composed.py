"""Composed: a method made of three parts, each lent by another method: what merges, what scores, and how many tokens each layer runs on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace

from torch import Tensor

from aim.kernels.cost import ModelShape, VisionShape
from aim.kernels.counts import Share
from aim.kernels.grid import Grid
from aim.kernels.merging import MergedClip
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import PAPER_RAMP, StatedRamp
from aim.kernels.tower_attention import TowerAttention
from aim.methods.base import METHOD, Method, Row
from aim.methods.cut import Cut, Kept
from aim.methods.full import Full
from aim.methods.knob import in_short, knob

MANY = 2**20  # visual tokens of which every share above a millionth is at least one


@dataclass(frozen=True)
class Turned:
    """A row of settings of a composed method, which differ in one of its parts: `part` is in turn each setting of `row`."""

    composed: Composed
    part: str
    row: Row

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, index: int) -> Composed:
        return replace(self.composed, **{self.part: self.row[index]})


@dataclass(frozen=True)
class Composed(Method):
    """AIM's merging with FastV's score on PyramidDrop's stairs is `Composed(merger=AIM(), scorer=FastV(), schedule=PyramidDrop())`.

    Each part is a whole method, of which only its own share is used:

    - `merger`: what is merged or dropped before the LLM, with the numbering of what is left, and what the tower has to be asked for.
    - `scorer`: the importance of tokens, whether it comes from the layer before or from the layer that is about to run, and which tokens a
      cut keeps by it and what they take in of the others.
    - `schedule`: how many visual tokens each layer runs on, and whether every cut numbers the tokens anew.

    A method that does not merge lends no merging, and one that drops nothing inside the LLM lends a schedule that keeps all. So a part that
    is left out, which is `Full`, changes nothing. Three parts of one method are that method.

    Two things do not go together, and they are refused. A schedule that keeps some tokens and drops others needs a scorer that scores.
    A merger that leaves tokens at their own positions does not go with a schedule that numbers them anew at each cut.

    It has no knobs of its own, so neither the command line nor the page offers it.
    """

    merger: Method = knob(Full(), "Merger", "The method that merges visual tokens, or drops some of them, before the LLM.")
    scorer: Method = knob(Full(), "Scorer", "The method that tells which visual tokens stay in the LLM.")
    schedule: Method = knob(Full(), "Schedule", "The method that tells how many visual tokens each layer runs on.")

    name = "composed"

    def __post_init__(self) -> None:
        """Check that the parts are methods and agree on positions.

        Raises:
            Refusal: they are not, or they do not.
        """
        for part in fields(self):
            METHOD.check(part.name, getattr(self, part.name))
        if self.merger.merges and self.merger.positions == "original" and self.schedule.positions == "renumbered":
            raise Refusal(
                f"The merger is {in_short(self.merger)}, which leaves tokens at their positions, and the schedule is "
                f"{in_short(self.schedule)}, which numbers them anew at each cut; accepted: two that agree. Take a merger that numbers "
                "tokens anew, such as aim.ToMe(), or a schedule that does not, such as aim.FastV()."
            )

    @property
    def positions(self) -> str:  # type: ignore[override]  # here and below: the parts decide
        """The schedule's numbering where its cuts number anew. Otherwise it is the merger's, or "original" where nothing is merged."""
        if self.schedule.positions == "renumbered":
            return "renumbered"
        return "compact" if self.merger.merges and self.merger.positions != "original" else "original"

    @property
    def needs_tower(self) -> bool:  # type: ignore[override]
        return self.merger.needs_tower

    @property
    def needs_question(self) -> bool:  # type: ignore[override]
        return self.merger.needs_question or self.scorer.needs_question

    @property
    def needs_pixels(self) -> bool:  # type: ignore[override]
        return self.merger.needs_pixels

    @property
    def looks_ahead(self) -> bool:  # type: ignore[override]
        return self.scorer.looks_ahead

    @property
    def decides(self) -> bool:  # type: ignore[override]
        return self.schedule.decides

    @property
    def merges(self) -> bool:
        return self.merger.merges

    @property
    def scores(self) -> bool:
        return self.scorer.scores

    def for_depth(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Composed:
        """See `Method.for_depth`.

        Raises:
            Refusal: in a model of this depth the schedule keeps some tokens and drops others, and the scorer scores none.
        """
        fitted = replace(self, **{part.name: getattr(self, part.name).for_depth(num_layers, ramp) for part in fields(self)})
        if not self.scores and any(0 < kept < MANY for kept in fitted.kept(num_layers, MANY)):
            raise Refusal(
                f"The schedule is {in_short(self.schedule)}, which keeps some visual tokens and drops others, and the scorer is "
                f"{in_short(self.scorer)}, which scores none; accepted: a scorer that scores. Take aim.FastV() or aim.AIM(), for example."
            )
        return fitted

    def merge(self, patches: Tensor, tower: TowerAttention | None = None, question: Tensor | None = None) -> MergedClip | None:
        return self.merger.merge(patches, tower, question)

    def merge_on(
        self,
        grid: Grid,
        patches: Tensor,
        tower: TowerAttention | None = None,
        question: Tensor | None = None,
        change: Tensor | None = None,
    ) -> MergedClip | None:
        return self.merger.merge_on(grid, patches, tower, question, change)

    def merged_tokens(self, frames: int, tokens_per_frame: int) -> int:
        return self.merger.merged_tokens(frames, tokens_per_frame)

    def frames_seen(self, frames: int) -> int:
        return self.merger.frames_seen(frames)

    def merge_flops(self, shape: ModelShape, vision: VisionShape, frames: int, tokens_per_frame: int, merged_tokens: int) -> int:
        return self.merger.merge_flops(shape, vision, frames, tokens_per_frame, merged_tokens)

    def keep(self, num_layers: int) -> Sequence[Share]:
        return self.schedule.keep(num_layers)

    def kept(self, num_layers: int, merged_tokens: int) -> list[int]:
        return self.schedule.kept(num_layers, merged_tokens)

    def score(self, query: Tensor, key: Tensor, scaling: float, is_question: Tensor) -> Tensor | None:
        return self.scorer.score(query, key, scaling, is_question)

    def raters(self, question: Tensor, visual: Tensor) -> Tensor | None:
        return self.scorer.raters(question, visual)

    def cut(self, cut: Cut) -> Kept:
        return self.scorer.cut(cut)

    def decided(self, counts: list[int], num_layers: int) -> int | None:
        return self.schedule.decided(counts, num_layers)

    def decide(self, cut: Cut) -> Kept:
        return self.schedule.decide(cut)

    def runs_on(self, num_layers: int, merged_tokens: int, scored_from: int = 0) -> list[int]:
        return (
            self.schedule.runs_on(num_layers, merged_tokens, scored_from)
            if self.decides
            else super().runs_on(num_layers, merged_tokens, scored_from)
        )

    def score_flops(self, shape: ModelShape, lengths: list[int]) -> int:
        return self.scorer.score_flops(shape, lengths)

    def dials(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Iterator[Row]:
        """The first row of the merger, and then all rows of the schedule. Further rows of the merger turn what it does not lend."""
        if self.merges:
            yield Turned(self, "merger", next(iter(self.merger.dials(num_layers, ramp))))
        for row in self.schedule.dials(num_layers, ramp):
            yield Turned(self, "schedule", row)

    def params(self) -> dict:
        """The parts by name, each as its method's name and knobs."""
        parts = {part.name: getattr(self, part.name) for part in fields(self)}
        return {name: {"method": part.name, **part.params()} for name, part in parts.items()}
