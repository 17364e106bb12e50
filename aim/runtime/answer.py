"""What a question about a clip gives: the text, and the account of the run that made it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from aim.engine.progress import Progress
from aim.kernels.bounds import Kind
from aim.kernels.trace import Trace
from aim.methods import Method
from aim.methods.tower import FrameLengths, Tower
from aim.runtime.words import Word


@dataclass(frozen=True)
class Answer:
    """An answer, which grows while it streams. `trace` is None until it is complete, and `timings` has the stages that have ended.

    Attributes:
        text: what the model has said so far.
        model: the name under which the model was loaded.
        method: the method with every knob filled in.
        tower: how the vision tower was reduced, with everything filled in; None where it ran in full.
        tower_computed: the share of the frames' patches whose computation a reduced tower began; None where it ran in full.
        frames: how many frames the clip has. The trace counts steps instead, which are fewer where the model joins frames in time.
        trace: the record of the prefill, see `aim.Trace`.
        timings: seconds by stage: `decode_video`, `preprocess`, `vision_tower` (these three only when they ran), `merge`, `importance`,
            `inspection` (only where `scores="all"` or `words` was asked for), `llm_prefill`, `first_token` (from the start of generation),
            `decode`, `total` (of the question, without decoding the video).
        cost: modelled cost of the executed token counts, see `aim.planning.plan.cost_of`.
        features_reused: whether the clip's vision features came from an earlier question.
        new_tokens: how many tokens were generated, the end token included.
        next_token: log probabilities of the first token, float32 [vocabulary] on the CPU, before sampling or a penalty changes them; None
            until there is one. `account` and `to_dict` leave it out.
        words: the words of a complete answer with their probabilities and what each looked at; empty unless they were asked for.
        progress: how far the vision tower or the prefill is, of an answer that has no word yet and whose asker wanted to know.
        note: what the reader should know before trusting the text, such as words of the question that the model does not know.
    """

    text: str = ""
    model: str = ""
    method: Method = field(default_factory=Method)
    tower: Tower | None = None
    tower_computed: float | None = None
    frames: int = 0
    trace: Trace | None = None
    timings: dict[str, float] = field(default_factory=dict)
    cost: dict[str, float] = field(default_factory=dict)
    features_reused: bool = False
    new_tokens: int = 0
    next_token: Tensor | None = field(default=None, repr=False, compare=False)
    note: str = ""
    progress: Progress | None = field(default=None, repr=False, compare=False)
    words: tuple[Word, ...] = field(default=(), repr=False)

    def account(self) -> dict:
        """The answer with its counts, times and costs as plain numbers and lists, without the trace's tensors."""
        trace = self.trace or Trace()
        return {
            "answer": self.text,
            "model": self.model,
            "method": self.method.name,
            "params": self.method.params(),
            "tower": None if self.tower is None else self.tower.params(),
            "tower_computed": self.tower_computed,
            "frames": self.frames,
            "steps": trace.frames,
            "visual_tokens": trace.visual_tokens,
            "merged_tokens": trace.merged_tokens,
            "tokens_per_layer": [list(pair) for pair in trace.tokens_per_layer],
            "timings": self.timings,
            "cost": self.cost,
            "features_reused": self.features_reused,
            "new_tokens": self.new_tokens,
            "note": self.note,
            "words": [word.to_dict(attention=False) for word in self.words],
        }

    def to_dict(self) -> dict:
        """`account`, and under "trace" the whole trace, what each token looked at with it, as plain numbers and lists."""
        return self.account() | {"trace": (self.trace or Trace()).to_dict()}

    def to_json(self) -> str:
        """`to_dict` as one JSON object."""
        return json.dumps(self.to_dict())


def share_computed(lengths: Sequence[FrameLengths]) -> float | None:
    """The share of the tokens of all frames that the first layer of a reduced tower computes, from the (queries, keys) of its layers."""
    computed, tokens = (sum(frame[0][side] for frame in lengths) for side in (0, 1))
    return computed / tokens if tokens else None


ANSWER = Kind(Answer, "an answer", "Take the one that `VLM.ask` gives.")
