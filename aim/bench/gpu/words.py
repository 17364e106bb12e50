"""Words and kept tokens on the device are those of the CPU, in float32."""

from __future__ import annotations

from collections.abc import Callable

import torch

from aim.bench.gpu.cases import Case, case, groups, said
from aim.bench.gpu.parts import Found, Setting
from aim.bench.gpu.tally import outcomes
from aim.engine.reduce import reduce
from aim.kernels.refusal import Refusal
from aim.methods import Method

EQUAL = "equal"


def run(setting: Setting, stop: Callable[[], str]) -> Found:
    """Compare every pair that there is time for."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False  # a GPU's convolutions are not float32 otherwise
    try:
        results, left_out = {}, []
        for kind, methods in groups(setting.small):
            if reason := stop():
                left_out.append(f"{kind} under {len(methods)} methods: {reason}")
                continue
            reference, here = case(kind, torch.device("cpu"), torch.float32), case(kind, setting.device, torch.float32)
            for name, method in methods.items():
                results[f"{kind}, {name}"] = stop() or compared(reference, here, method)
    finally:
        torch.backends.cudnn.allow_tf32 = before
    return outcomes("words and kept tokens", results, EQUAL, left_out)


def compared(reference: Case, here: Case, method: Method) -> str:
    """Whether two (model, inputs) give the same words and keep the same tokens under a method; `EQUAL`, or what differs."""
    try:
        words, kept = _answer(reference, method)
    except Refusal as refusal:
        return f"refused: {refusal}"
    try:
        other_words, other_kept = _answer(here, method)
    except Exception as error:
        return f"failed: {type(error).__name__}: {error}"
    wrong = [what for what, one, other in (("words", words, other_words), ("kept tokens", kept, other_kept)) if one != other]
    return f"{' and '.join(wrong)} differ" if wrong else EQUAL


def _answer(case: Case, method: Method) -> tuple[list, list]:
    model, inputs = case
    with reduce(model, method) as trace:
        words, _ = said(model, inputs)
    return words.tolist(), [trace.assignment.tolist(), *(tokens.tolist() for tokens in trace.survivors)]
