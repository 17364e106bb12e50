"""Vision features are kept by bytes, the last clip's always, and sizes are written as a host would write them."""

from dataclasses import dataclass

import pytest
import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

import aim
from aim.kernels.refusal import Refusal
from aim.runtime.byte_sizes import byte_size, size_from_environment
from aim.runtime.features import FEATURES_MEMORY, VARIABLE, size_of
from tests.fakes import make_clip

QUESTION = "what colour is the circle?"


def reused(vlm, frames: int) -> bool:
    return vlm.ask(make_clip(frames), QUESTION, max_new_tokens=1).features_reused


@pytest.fixture
def vlm():
    return aim.load("bundled", device="cpu")


def test_the_oldest_features_go_once_the_bytes_are_used_up(vlm):
    assert vlm.features.limit == FEATURES_MEMORY == 512 * 2**20
    reused(vlm, 1)
    one = vlm.features.bytes
    vlm.features.limit = 6 * one + one // 2
    assert [reused(vlm, frames) for frames in (2, 3)] == [False, False]
    assert vlm.features.bytes == pytest.approx(6 * one, rel=0.05) and len(vlm.features) == 3
    assert reused(vlm, 1)  # so that the two frames are the oldest
    assert not reused(vlm, 2 * 2)
    assert len(vlm.features) == 2 and vlm.features.bytes <= vlm.features.limit
    assert reused(vlm, 1) and reused(vlm, 4) and not reused(vlm, 3)


def test_the_last_clip_stays_whatever_its_size(vlm):
    vlm.features.limit = 0
    assert [reused(vlm, frames) for frames in (2, 2, 3, 2)] == [False, True, False, False]
    assert len(vlm.features) == 1


def test_the_environment_bounds_them_and_a_bad_size_is_refused(monkeypatch):
    monkeypatch.setenv(VARIABLE, "3 MiB")
    assert aim.load("bundled").features.limit == 3 * 2**20
    monkeypatch.setenv(VARIABLE, "plenty")
    with pytest.raises(Refusal, match="AIM_FEATURES_MEMORY is 'plenty'; accepted: a number of bytes.*512MiB"):
        aim.load("bundled")


@dataclass
class Kept:
    values: object


def test_memory_that_is_shared_counts_once():
    whole = torch.zeros(10, 4)
    assert size_of(whole) == size_of({"a": [whole, Kept(whole[2:])], "b": None}) == 160
    output = BaseModelOutputWithPooling(pooler_output=whole[:1], attentions=(Kept(torch.zeros(3, dtype=torch.bfloat16)),))
    assert size_of(output) == 160 + 6  # a slice keeps all of its storage alive


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1234", 1234),
        ("1GiB", 2**30),
        (" 512 mib ", 2**29),
        ("1.5GB", 1_500_000_000),
        ("2k", 2000),
        ("3TiB", 3 * 2**40),
        ("7B", 7),
    ],
)
def test_sizes_in_their_units(text, size):
    assert byte_size(text) == size


@pytest.mark.parametrize("text", ["-1", "1e9", "GiB", "1 XiB", "nan", "1,5GB", "0x10", "٣", "1 GiB more", "", "1..5MB"])
def test_what_is_no_size_is_refused_in_a_sentence(text):
    with pytest.raises(Refusal, match="accepted: a number of bytes"):
        byte_size(text)


@pytest.mark.parametrize("value", [None, "", "  "])
def test_without_a_value_the_default_counts(monkeypatch, value):
    monkeypatch.delenv("AIM_X", raising=False)
    if value is not None:
        monkeypatch.setenv("AIM_X", value)
    assert size_from_environment("AIM_X", 5) == 5
