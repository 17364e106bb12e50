"""What a picture that leaves the page says about its run, in a few lines of text: it has to explain itself where nothing else does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aim.methods.knob import knobs_of
from aim.views.figures import kv_ratio, same_answer
from aim.views.lettering import MISSING, legible
from aim.views.units import counted, fewer, flops, quicker, smaller, value_of

if TYPE_CHECKING:
    from aim.methods import Method
    from aim.runtime.answer import Answer

SAME, DIFFERENT = "✓ same answer as the full model", "✗ not the full model's answer"
NOTHING = "(no words)"
UNWRITTEN = f"{MISSING} stands for a letter that the fonts here do not have."


@dataclass(frozen=True)
class SharedWords:
    """The lines of a shared picture.

    Attributes:
        question: as it was asked.
        method: the method's name.
        answer: what the reduced model said; `full_answer` the full model, None if it was not asked.
        verdict: whether they agree; "" without the full model's answer.
        cost: tokens, FLOPs, cache, and the measured prefill where both were timed.
        setting: model, frames, and the knobs that matter or were turned.
        address: where the run can be tried, "" for nowhere.
        unwritten: what stands for letters that no font here has, "" where all could be written.
    """

    question: str
    method: str
    answer: str
    full_answer: str | None
    verdict: str
    cost: str
    setting: str
    address: str
    unwritten: str

    @classmethod
    def of(cls, answer: Answer, question: str, full: Answer | None = None, address: str = "") -> SharedWords:
        """The lines of a finished run, beside the full model's where there is one."""
        same = full is not None and same_answer(answer, full)
        return cls(
            question=question,
            method=type(answer.method).__name__,
            answer=answer.text.strip() or NOTHING,
            full_answer=None if full is None else full.text.strip() or NOTHING,
            verdict="" if full is None else SAME if same else DIFFERENT,
            cost=_cost(answer, full),
            setting=" · ".join(filter(None, (answer.model, f"{answer.frames:,} frames" if answer.frames else "", setting(answer.method)))),
            address=address,
            unwritten=UNWRITTEN if any(MISSING in legible(text) for text in (question, answer.text, full.text if full else "")) else "",
        )

    @property
    def agrees(self) -> bool:
        """Whether both answers are known and the same."""
        return self.verdict == SAME


def setting(method: Method) -> str:
    """The knobs that matter first, and those that were turned, for example "merge ratio 0.25 · l1 14 · l2 22"."""
    values = method.params()
    shown = [name for name, knob in knobs_of(type(method)).items() if not knob.advanced or values[name] != knob.default]
    return " · ".join(f"{name.replace('_', ' ')} {value_of(values[name])}" for name in shown)


def _cost(answer: Answer, full: Answer | None) -> str:
    cost, trace = answer.cost, answer.trace
    parts = [
        f"{f'{trace.visual_tokens:,} → ' if trace.merged_tokens < trace.visual_tokens else ''}{counted(trace.merged_tokens)}",
        f"{fewer(cost['speedup'])} ({flops(cost['prefill_tflops'])} instead of {flops(cost['baseline_tflops'])}, modelled)",
        f"KV cache {smaller(kv_ratio(cost))}",
    ]
    if full is not None and full.trace is not None and trace.prefill_seconds and full.trace.prefill_seconds:
        parts.append(f"prefill {quicker(full.trace.prefill_seconds, trace.prefill_seconds)} (measured once)")
    return " · ".join(parts)
