"""The slider of a budget: its range follows the kind, the model and the frames, and what it says is what is asked for."""

from __future__ import annotations

import pytest

import aim
from aim.kernels.cost import kv_bytes
from aim.planning.plan import shape_of
from aim.runtime.limits import TYPICAL_TEXT_TOKENS
from aim.ui.budgets import KINDS, budget_range, chosen_budget


@pytest.fixture(scope="module")
def vlm():
    return aim.load("bundled")


def test_each_kind_is_a_budget_the_tuner_reads():
    amounts = {kind: str(chosen_budget(kind, 12.5)) for kind in KINDS}
    assert amounts == {"FLOPs": "12.5x less", "KV cache": "12.5 MB", "Time": "12.5 ms"}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("frames", [1, 8, 64])
def test_a_slider_has_room_and_its_value_lies_on_it(vlm, kind, frames):
    limits = budget_range(vlm, kind, frames)
    assert 0 < limits.low <= limits.value <= limits.high
    assert 20 <= (limits.high - limits.low) / limits.step <= 3000
    chosen_budget(kind, limits.low), chosen_budget(kind, limits.high)


@pytest.mark.parametrize("frames", [4, 32])
def test_the_most_kv_cache_is_the_full_models_in_this_models_precision(vlm, frames):
    shape, _ = shape_of(vlm.model.config)
    tokens = vlm.grid(frames).tokens + TYPICAL_TEXT_TOKENS
    whole = kv_bytes(shape, [tokens] * vlm.num_layers, vlm.dtype.itemsize) / 1e6
    limits = budget_range(vlm, "KV cache", frames)
    assert limits.high == pytest.approx(whole, abs=limits.step)
    assert limits.low < whole / 5


def test_milliseconds_follow_what_was_timed(vlm):
    limits = budget_range(vlm, "Time", 8, full_seconds=0.4)
    assert limits.high == pytest.approx(400, abs=limits.step) and limits.value == pytest.approx(200, abs=limits.step)
