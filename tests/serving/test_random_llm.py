"""The random checkpoint that a server is loaded with."""

from __future__ import annotations

import pytest
import torch
from transformers import LlavaOnevisionForConditionalGeneration

from aim.kernels.refusal import Refusal
from aim.serving.random_llm import write


def test_its_answers_are_as_long_as_allowed(tmp_path):
    write(tmp_path, layers=1, width=256)
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(tmp_path)
    text = model.config.text_config
    assert (text.num_hidden_layers, text.hidden_size, text.num_attention_heads, text.num_key_value_heads) == (1, 256, 4, 2)
    prompts = torch.arange(40).view(8, 5) + 6
    answers = model.generate(prompts, attention_mask=torch.ones_like(prompts), max_new_tokens=16, do_sample=False)[:, 5:]
    assert answers.shape == (8, 16) and answers.min() > model.config.video_token_id


@pytest.mark.parametrize("width", [0, 64, 500])
def test_a_width_that_makes_no_heads_is_refused(tmp_path, width):
    with pytest.raises(Refusal, match=f"width is {width}; accepted: a multiple of 128"):
        write(tmp_path, width=width)
