"""In bfloat16 and float16 every logit and every score is finite."""

from __future__ import annotations

from collections.abc import Callable

import torch

from aim.bench.gpu.cases import case, groups, said
from aim.bench.gpu.parts import Found, Setting
from aim.bench.gpu.tally import outcomes
from aim.engine.reduce import reduce
from aim.kernels.refusal import Refusal
from aim.methods import Method

FINITE = "finite"


def run(setting: Setting, stop: Callable[[], str]) -> Found:
    """Check every pair that there is time for. Where the stock model itself fails in a type, nothing is said of the methods in it."""
    results, left_out = {}, []
    for kind, methods in groups(setting.small):
        for dtype in (torch.bfloat16, torch.float16):
            name = f"{kind}, {str(dtype).removeprefix('torch.')}"
            if reason := stop():
                left_out.append(f"{name} under {len(methods)} methods: {reason}")
                continue
            model, inputs = case(kind, setting.device, dtype)
            if trouble := _stock(model, inputs):
                results[name] = trouble
                continue
            results |= {f"{name}, {title}": stop() or checked(model, inputs, method) for title, method in methods.items()}
    return outcomes("logits and scores in half precision", results, FINITE, left_out)


def checked(model, inputs: dict, method: Method) -> str:
    """`FINITE`, or what is not."""
    try:
        with reduce(model, method, scores="all") as trace:
            _, logits = said(model, inputs)
    except Refusal as refusal:
        return f"refused: {refusal}"
    except Exception as error:
        return f"failed: {type(error).__name__}: {error}"
    scores = [score for score in trace.scores if score is not None]
    wrong = [what for what, values in (("logits", logits), ("scores", scores)) if not all(bool(v.isfinite().all()) for v in values)]
    return f"{' and '.join(wrong)} are not finite" if wrong else FINITE


def _stock(model, inputs: dict) -> str:
    try:
        _, logits = said(model, inputs)
    except Exception as error:
        return f"stock fails: {type(error).__name__}: {error}"
    return "" if all(bool(values.isfinite().all()) for values in logits) else "stock is not finite"
