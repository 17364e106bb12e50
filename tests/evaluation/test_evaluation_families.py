"""Which models the benchmark takes: those that make a square of tokens of each frame."""

from __future__ import annotations

import pytest

import aim
from aim.evaluation.clips import tokens_a_side
from tests.tiny import FEWER, TINY
from tests.tiny_checkpoints import save_checkpoint


@pytest.mark.parametrize("name", FEWER)
def test_a_model_that_joins_frames_is_refused_and_the_others_tell_their_tokens(name, tmp_path):
    vlm = aim.load(save_checkpoint(name, tmp_path))
    if TINY[name].step == 1:
        assert tokens_a_side(vlm) == (8 if name == "gemma4" else 5)
    else:
        with pytest.raises(ValueError, match="a square for each"):
            tokens_a_side(vlm)
