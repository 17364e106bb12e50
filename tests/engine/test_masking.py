"""Tokens removed and tokens hidden by masks give the same logits, on every family: two books kept apart."""

import pytest
import torch

import aim
from aim.bench.masked import masked
from tests.tiny import FEWER, TINY

PRUNERS = [
    aim.AIM(merge_ratio=1.0, l1=2, l2=5),
    aim.AIM(merge_ratio=1.0, l1=0, l2=9, damping=0.2, restart="question"),
    aim.FastV(layer=2, keep_ratio=0.3),
    aim.VTW(layer=3),
]


@pytest.mark.parametrize("kind", ["video", "images"])
@pytest.mark.parametrize("method", PRUNERS, ids=lambda method: f"{method.name}-{getattr(method, 'restart', '')}")
@pytest.mark.parametrize("name", FEWER)
def test_removing_tokens_equals_hiding_them(name, method, kind):
    model, tiny = TINY[name].model(), TINY[name]
    inputs = tiny.video_inputs() if kind == "video" else tiny.image_inputs()
    with torch.no_grad():
        with masked(model, method) as attended:
            hidden = model(**inputs).logits[:, -1]
        with aim.reduce(model, method) as trace:
            removed = model(**inputs).logits[:, -1]
    assert attended == [visual for visual, _ in trace.tokens_per_layer]
    assert attended[-1] < attended[0]
    torch.testing.assert_close(removed, hidden, atol=1e-4, rtol=1e-4)
