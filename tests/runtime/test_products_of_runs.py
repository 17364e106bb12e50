"""A run of a model on a processor with AMX: products in bfloat16, scores in float32, and nothing changed afterwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import aim
from aim.evaluation.clips import held_out_clip
from aim.evaluation.measure import measure_clip
from aim.evaluation.settings import Setting
from aim.kernels import products
from aim.methods import AIM
from aim.runtime.precision import told_of
from aim.video.clip import clip_from_frames


@pytest.fixture(scope="module")
def vlm():
    return aim.load("bundled")


@pytest.fixture
def precisions(vlm, monkeypatch):
    """The precisions that layers of the model, merging and scoring ran in."""
    monkeypatch.setattr(products, "FASTER_WITH", {"AMX": lambda: True})
    seen = {"layers": set(), "merge": set(), "score": set()}
    hook = vlm.model.model.language_model.layers[0].register_forward_pre_hook(
        lambda *_: seen["layers"].add(torch.get_float32_matmul_precision())
    )

    def watched(name):
        inner = getattr(AIM, name)

        def call(*args, **kwargs):
            seen[name].add(torch.get_float32_matmul_precision())
            return inner(*args, **kwargs)

        return call

    for name in ("merge", "score"):
        monkeypatch.setattr(AIM, name, watched(name))
    yield seen
    hook.remove()


def test_a_run_multiplies_faster_scores_exactly_and_puts_the_precision_back(vlm, precisions):
    clip = clip_from_frames(np.random.default_rng(1).integers(0, 256, (2, 48, 48, 3), np.uint8), 1.0)
    assert vlm.ask(clip, "what color?", max_new_tokens=1).text is not None
    assert precisions == {"layers": {"medium"}, "merge": {"highest"}, "score": {"highest"}}
    assert torch.get_float32_matmul_precision() == "highest"
    assert told_of(vlm.device, vlm.dtype) == "cpu float32, bfloat16 products (AMX)"


def test_an_evaluation_does_not_depend_on_the_processor(vlm, precisions):
    list(measure_clip(vlm, held_out_clip(0), [Setting(AIM().for_depth(vlm.num_layers), 2)]))
    assert precisions["layers"] == precisions["score"] == {"highest"}
