"""The clips on which official code was run, and what it put out: data to hold the methods against, and no code of theirs.

A clip is made again from its seed, so that only the results need to be kept, in `tests/data`.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DATA = Path(__file__).parent / "data"
CHANNELS, KEY = 64, 32  # of a visual token; of the vision tower's keys, and of the space in which CLIP compares patches and text
HEADS, KEY_VALUE_HEADS, HEAD_SIZE = 4, 2, 16  # of the LLM's layer
TEXT_BEFORE, TEXT_AFTER = 6, 10  # text tokens before and after the visual ones of a prompt
SIZES = {"a": (8, 7, 7), "b": (6, 14, 14), "c": (20, 7, 7)}  # frames, rows, columns
SEEDS = {("a", "iid"): 11, ("a", "video"): 12, ("b", "iid"): 21, ("b", "video"): 22, ("c", "iid"): 31, ("c", "video"): 32}


def cases(method: str) -> dict[str, dict]:
    """What the official code of a method put out, by "clip.kind.ratio"."""
    return json.loads((DATA / f"{method}.json").read_text(encoding="utf-8"))["cases"]


def rivals(method: str) -> dict[str, dict]:
    """As `cases`, for the methods whose lists lie in arrays, by "variant.clip.kind.ratio".

    `kept` are the places that come out, frame · T + token, in the order of the output, and `weights` [tokens out, tokens in] says what
    each is made of. `stable` tells whether the official code gives the same for an input that is moved by 1e-6, and only then is equality
    asked for. `fails` tells that the official code raises. Whatever else there is are results on the way.
    """
    found, arrays = cases(method), np.load(DATA / f"{method}.npz")
    for case in found.values():
        for name, (start, size, *columns) in case.pop("arrays", {}).items():
            part = arrays[name][start : start + size]
            part = torch.from_numpy(part.astype("float32" if part.dtype.kind == "f" else "int64"))
            case[name] = part.view(-1, *columns) if columns else part
        if "order" in case:
            case["kept"] = torch.as_tensor(case["order"]).sort().values
        if "w_row" in case:
            weights = torch.zeros(case["tokens_out"], case["tokens_in"])
            weights[case.pop("w_row"), case.pop("w_step").cumsum(0)] = case.pop("w_table")[case.pop("w_which")]
            case["weights"] = weights
    return found


def input_of(name: str) -> tuple[str, str, float]:
    """(clip, kind, ratio) of the case "variant.clip.kind.ratio"."""
    clip, kind, ratio = name.split(".", 3)[1:]
    return clip, kind, float(ratio)


def patches(clip: str, kind: str) -> Tensor:
    """Visual tokens [F, T, 64] in raster order.

    "iid" is noise. "video" is five plane waves, which stand still in the left half of a frame and drift in the right half, with a cut to
    another scene in the middle of the clip, and noise on top. The order of the draws is part of the data.
    """
    frames, rows, columns = SIZES[clip]
    torch.manual_seed(SEEDS[clip, kind])
    if kind == "iid":
        return torch.randn(frames, rows * columns, CHANNELS)
    down, across = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij")
    drifting = (torch.arange(columns) >= columns // 2).float().expand(rows, columns)
    level, scenes = 0.8 * torch.randn(CHANNELS), []
    for first, end in ((0, frames // 2), (frames // 2, frames)):
        waves, phases, speeds, heights = 1.5 * torch.rand(5, 2) + 0.25, torch.rand(5), 0.1 * torch.rand(5) + 0.04, torch.randn(5, CHANNELS)
        time = torch.arange(first, end).float()[:, None, None, None]
        turns = across[..., None] * waves[:, 0] + down[..., None] * waves[:, 1] + phases
        turns = turns + time * (1 + time / frames) * speeds * drifting[..., None]
        scenes.append(level + 0.7 * torch.sin(2 * math.pi * turns) @ heights)
        level = level + 0.8 * torch.randn(CHANNELS)
    clean = torch.cat(scenes).reshape(frames, rows * columns, CHANNELS)
    return clean + 0.3 * torch.randn(frames, rows * columns, CHANNELS)


def tower(clip: str, kind: str) -> dict[str, Tensor]:
    """What a vision tower attended to: `received` [F, T], whose rows sum to 1; `cls` [F, 4, T], what CLS pays the patches by head; `keys`
    [F, T, KEY], the mean over heads; and CLS's own `cls_token` [F, 64] and `cls_key` [F, KEY]."""
    x = patches(clip, kind)
    frames, tokens, _ = x.shape
    torch.manual_seed(SEEDS[clip, kind] + 1000)
    received = (1.5 * torch.randn(frames, tokens)).softmax(-1)
    cls = (1.5 * torch.randn(frames, HEADS, 1 + tokens)).softmax(-1)[..., 1:]
    keys = x @ (torch.randn(CHANNELS, KEY) / math.sqrt(CHANNELS)) + 0.3 * torch.randn(frames, tokens, KEY)
    return {"received": received, "cls": cls, "keys": keys, "cls_token": torch.randn(frames, CHANNELS), "cls_key": torch.randn(frames, KEY)}


def llm(clip: str, kind: str) -> dict:
    """One layer of the LLM on a prompt of text, the clip, text: `hidden` [n, 64], whose visual rows are `patches`; `query` [HEADS, n, d]
    and `key` [KEY_VALUE_HEADS, n, d], both rotated; `scaling`; `is_question` bool [n]; and `visual`, the (first, end) of the clip."""
    x = patches(clip, kind).flatten(0, 1)
    torch.manual_seed(SEEDS[clip, kind] + 2000)
    count = TEXT_BEFORE + len(x) + TEXT_AFTER
    query, key = 1.5 * torch.randn(HEADS, count, HEAD_SIZE), torch.randn(KEY_VALUE_HEADS, count, HEAD_SIZE)
    hidden = torch.cat([torch.randn(TEXT_BEFORE, CHANNELS), x, torch.randn(TEXT_AFTER, CHANNELS)])
    end = TEXT_BEFORE + len(x)
    asked = torch.arange(count) >= end
    return {"hidden": hidden, "query": query, "key": key, "scaling": HEAD_SIZE**-0.5, "is_question": asked, "visual": (TEXT_BEFORE, end)}


def layer_change(clip: str, kind: str, call: int) -> Tensor:
    """[n, 64], what is added to the hidden states of `llm` before call 1, 2... of a method that is called in several layers."""
    frames, rows, columns = SIZES[clip]
    torch.manual_seed(SEEDS[clip, kind] + 4000 + call)
    return 0.1 * torch.randn(TEXT_BEFORE + frames * rows * columns + TEXT_AFTER, CHANNELS)


def question(clip: str, kind: str) -> dict[str, Tensor]:
    """Where CLIP compares: `image` [F, T, KEY], of each patch, and `text` [3, KEY], three pieces of one question."""
    x = patches(clip, kind)
    torch.manual_seed(SEEDS[clip, kind] + 3000)
    image = x @ (torch.randn(CHANNELS, KEY) / math.sqrt(CHANNELS)) + 0.3 * torch.randn(*x.shape[:2], KEY)
    return {"image": image, "text": torch.randn(3, KEY)}
