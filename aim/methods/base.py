"""What a method is: a merger before the LLM, a scorer inside it, and a schedule that says how many visual tokens each layer runs on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from torch import Tensor

from aim.kernels.bounds import Kind
from aim.kernels.cost import ModelShape, VisionShape
from aim.kernels.counts import Share
from aim.kernels.grid import Grid
from aim.kernels.merging import MergedClip
from aim.kernels.schedule import PAPER_RAMP, StatedRamp, once_scored, tokens_kept
from aim.kernels.tower_attention import TowerAttention
from aim.methods.cut import Cut, Kept, highest
from aim.methods.knob import knobs_of


class Row(Protocol):
    """Settings of a method, from the cheapest to the dearest, by number (see `aim.methods.dial.Dial`)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Method: ...


@dataclass(frozen=True)
class Method:
    """The base of all methods, which by itself changes nothing.

    A method is only its knobs, each declared once on its field (`aim.methods.knob`). The state of a run lives in the engine, so one method
    object may serve any number of runs and models.

    Class attributes:
        name: its key in `METHODS`.
        positions: how kept tokens are placed: "compact" numbers what merging leaves 0, 1, 2..., "renumbered" does so again after every
            drop inside the LLM, and "original" leaves each where it was. Models with several position axes (M-RoPE) always keep "original".
        needs_tower: `merge` has to know what the vision tower attended to.
        needs_question: `merge` has to know the question.
        needs_pixels: `merge_on` has to know how the pixels of each token change from frame to frame.
        comparable: it takes part where methods are compared at one budget.
        decides: its cuts decide as they go how many tokens stay, so that a plan only estimates them; see `decided` and `decide`.
        looks_ahead: scores come from the query and key projections of the layer that is about to run, not from the layer before.
    """

    # Not annotated, so that they are no fields and a method's knobs come first.
    name = "full"
    positions = "original"
    needs_tower = False
    needs_question = False
    needs_pixels = False
    looks_ahead = False
    decides = False
    comparable = True

    def __post_init__(self) -> None:
        """Check every knob. A method with rules between its knobs calls this first.

        Raises:
            Refusal: a knob is out of its range.
        """
        for name, knob in knobs_of(type(self)).items():
            value = getattr(self, name)
            knob.check(value)
            object.__setattr__(self, name, knob.cast(value))  # NumPy's numbers are accepted, and JSON and torch take plain ones

    def for_depth(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Method:
        """This method with every knob that depends on the model's depth filled in. `ramp` is what the paper has for the model's family."""
        return self

    def merge(self, patches: Tensor, tower: TowerAttention | None = None, question: Tensor | None = None) -> MergedClip | None:
        """The projected visual tokens [F, T, C], merged or some of them dropped, or None to leave them as they are.

        Args:
            tower: given where `needs_tower` asks for it.
            question: given where `needs_question` asks for it: the LLM's input embeddings [n, C], n ≥ 1, of the text behind the pictures.
        """
        return None

    def merge_on(
        self,
        grid: Grid,
        patches: Tensor,
        tower: TowerAttention | None = None,
        question: Tensor | None = None,
        change: Tensor | None = None,
    ) -> MergedClip | None:
        """As `merge`, which it calls. A method that has to know the rows and columns of a frame, or the change of its pixels, has its own.

        `change` is given where `needs_pixels` asks for it and there are several frames: float32 [F - 1, T], the mean absolute difference of
        the pixels of each token, as the model takes them, to those at its place in the frame before, times 255.
        """
        return self.merge(patches, tower, question)

    @property
    def merges(self) -> bool:
        """Whether it has a `merge` of its own. Without one, the LLM gets the visual tokens as they are."""
        return type(self).merge is not Method.merge

    @property
    def scores(self) -> bool:
        """Whether it has a `score` of its own, which can tell the tokens that stay from those that are dropped."""
        return type(self).score is not Method.score

    def frames_seen(self, frames: int) -> int:
        """How many of the clip's frames the vision tower has to encode for this method."""
        return frames

    def merged_tokens(self, frames: int, tokens_per_frame: int) -> int:
        """How many visual tokens `merge` leaves of frames · tokens_per_frame.

        Raises:
            Refusal: the number depends on the clip, so it cannot be planned.
        """
        return frames * tokens_per_frame

    def keep(self, num_layers: int) -> Sequence[Share]:
        """For each layer, the share (0 to 1) of the merged tokens that it runs on. Shares that are computed are exact as fractions."""
        return [1.0] * num_layers

    def score(self, query: Tensor, key: Tensor, scaling: float, is_question: Tensor) -> Tensor | None:
        """Importance of every token as one layer's attention tells it, float32 [n]; None for methods that never need one.

        Args:
            query: post-RoPE queries [H, n, d].
            key: post-RoPE keys [KV, n, d], H a multiple of KV.
            scaling: factor on the logits, usually d^-0.5.
            is_question: bool [n], the text after the video.
        """
        return None

    def raters(self, question: Tensor, visual: Tensor) -> Tensor | None:
        """Which of the question's tokens alone score, bool [q], by the embeddings [q, C] and [v, C] that enter the LLM; None for all.

        It is asked where `needs_question` is set. Where it answers, `score` gets the queries [H, q, d] of the question alone, which are
        those of the prompt's last q tokens, and `is_question` tells of the raters.
        """
        return None

    def cut(self, cut: Cut) -> Kept:
        """Which visual tokens a layer inside the LLM runs on, and what they take in of those that it drops.

        By default they are the `cut.target` with the highest scores, and they stay as they are.
        """
        return highest(cut)

    def decided(self, counts: list[int], num_layers: int) -> int | None:
        """For a method that decides as it goes: how many visual tokens the next layer runs on, if that follows from those of the layers so
        far (`counts`, of which the first number entered the LLM); None where `decide` is to say."""
        return counts[-1]

    def decide(self, cut: Cut) -> Kept:
        """For a method that decides as it goes: which visual tokens stay, and how many. `cut.target` says nothing here."""
        return self.cut(cut)

    def merge_flops(self, shape: ModelShape, vision: VisionShape, frames: int, tokens_per_frame: int, merged_tokens: int) -> int:
        """FLOPs of `merge`, which left `merged_tokens` of frames · tokens_per_frame, and of what it asks of the vision tower."""
        return 0

    def score_flops(self, shape: ModelShape, lengths: list[int]) -> int:
        """FLOPs of `score` in the layers that are scored, with the tokens each of them runs on, text included."""
        return 0

    def kept(self, num_layers: int, merged_tokens: int) -> list[int]:
        """Visual tokens each layer is to run on when merging has left N = `merged_tokens`: ⌊keep(i) · N⌋ (AIM, section 3.3)."""
        return tokens_kept(self.keep(num_layers), merged_tokens)

    def runs_on(self, num_layers: int, merged_tokens: int, scored_from: int = 0) -> list[int]:
        """As `kept`, in an LLM whose first layer that attends to keys is `scored_from`.

        Nothing can be chosen before that layer has been scored, so all tokens stay up to there. A method that looks ahead need not wait.
        """
        kept = self.kept(num_layers, merged_tokens)
        return kept if self.looks_ahead else once_scored(kept, merged_tokens, scored_from)

    def visual_per_layer(self, num_layers: int, frames: int, tokens_per_frame: int, scored_from: int = 0) -> list[int]:
        """As `runs_on`, for a clip whose frames are only planned."""
        return self.runs_on(num_layers, self.merged_tokens(frames, tokens_per_frame), scored_from)

    def dials(self, num_layers: int, ramp: StatedRamp = PAPER_RAMP) -> Iterator[Row]:
        """Rows of settings among which one that meets a budget is looked for, the row to try first in front. For `ramp` see `for_depth`.

        This default is for a method whose cost is fixed.
        """
        yield (self,)

    def params(self) -> dict:
        """The knobs by name, for reports."""
        return asdict(self)


METHOD = Kind(Method, "a method", "Make one, such as aim.AIM(merge_ratio=0.25).")
