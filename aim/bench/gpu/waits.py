"""How often the host waits for the GPU in a prefill, by the line of code that waits."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

import aim
from aim.bench.gpu.cases import FIRST, case, groups
from aim.bench.gpu.parts import Found, Setting
from aim.engine.reduce import reduce
from aim.kernels.refusal import Refusal
from aim.methods import Method
from aim.views.text_tables import markdown_table

HOUSE = Path(aim.__file__).parent
# What AIM may wait for: the ids of the prompt, before the vision tower runs, and the copy of the trace to the host, after the last layer.
ALLOWED = ("engine/prompt.py", "engine/copies.py")


def run(setting: Setting, stop: Callable[[], str]) -> Found:
    """Count for the stock model, and for the methods, each after a warm-up."""
    if setting.device.type != "cuda":
        return Found({}, "", left_out=["only CUDA has host synchronisations to count"])
    counts: dict[str, dict[str, int]] = {}
    wrong, left_out = [], []
    for kind, methods in groups(small=True):
        if reason := stop():
            left_out.append(f"{kind}: {reason}")
            continue
        model, inputs = case(kind, setting.device, torch.bfloat16)
        try:
            counts[f"{kind}, stock"] = stock = counted(model, inputs, None)
        except Exception as error:
            left_out.append(f"{kind}: the stock model fails: {type(error).__name__}: {error}")
            continue
        for name, method in methods.items():
            title = f"{kind}, {name}"
            try:
                counts[title] = ours = counted(model, inputs, method)
            except Refusal as refusal:
                left_out.append(f"{title}: {refusal}")
            except Exception as error:
                wrong.append(f"{title}: {type(error).__name__}: {error}")
            else:
                own = {line: number for line, number in ours.items() if number > stock.get(line, 0) and not line.startswith(ALLOWED)}
                wrong += [f"{title}: {line} waits {number} times" for line, number in own.items() if name == "aim" and kind == FIRST]
    rows = [["prefill", "waits", "lines of ours that wait"]]
    for title, lines in counts.items():
        shown = ", ".join(f"{line} ({number})" for line, number in lines.items() if (HOUSE / line.partition(":")[0]).exists())
        rows.append([title, str(sum(lines.values())), shown or "-"])
    return Found(counts, markdown_table(rows), wrong, left_out)


def counted(model, inputs: dict, method: Method | None) -> dict[str, int]:
    """Line of code → how often it waited in the second of two prefills. Lines of this package are named from its folder."""
    block: AbstractContextManager = nullcontext() if method is None else reduce(model, method)
    with torch.inference_mode(), block, warnings.catch_warnings(record=True) as seen:
        model(**inputs)
        torch.cuda.synchronize()
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            model(**inputs)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return dict(Counter(_place(warning) for warning in seen if "synchroniz" in str(warning.message)))


def _place(warning: warnings.WarningMessage) -> str:
    path = Path(warning.filename)
    name = path.relative_to(HOUSE) if path.is_relative_to(HOUSE) else Path(*path.parts[-2:])
    return f"{name.as_posix()}:{warning.lineno}"
