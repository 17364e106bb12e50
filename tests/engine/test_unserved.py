"""Text models that SDPA on a shorter prompt cannot serve are refused by name, before anything runs; those that it can are not."""

import pytest
import torch
from transformers import LlavaConfig, LlavaForConditionalGeneration

import aim
from aim.bench.tiny_models import TEXT, VISION
from aim.engine.attention import attention
from tests.tiny import IMAGE, TINY, fingerprint, gemma4, internvl, llava, llava_onevision, qwen2_5_vl, qwen3_5

OLDER = {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 4}


def gemma2(**text):
    """LLaVA in front of Gemma 2, whose logits are capped; its attention cannot be SDPA from the start."""
    config = LlavaConfig(
        text_config={"model_type": "gemma2", **TEXT, "num_hidden_layers": 6, "head_dim": 8, **text},
        vision_config={"model_type": "clip_vision_model", **VISION, "image_size": 20, "patch_size": 4, "num_hidden_layers": 3},
        image_token_index=IMAGE,
        image_seq_length=25,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
    )
    return LlavaForConditionalGeneration(config).eval()


def gpt_oss():
    """InternVL in front of GPT-OSS, as InternVL3.5 has it."""
    return internvl(layers=4, model_type="gpt_oss", head_dim=8, num_local_experts=4, num_experts_per_tok=2, sliding_window=4096)


SMALL = {"hidden_size_per_layer_input": 4, "vocab_size_per_layer_input": 99, "num_kv_shared_layers": 2, "attention_k_eq_v": False}
REFUSED = {
    "GPT-OSS": (gpt_oss, "(gpt_oss) has attention sinks in 4 of its 4 layers; "),
    "Gemma 2": (lambda: gemma2(layer_types=["full_attention"] * 6), "(gemma2) has attention logits soft-capped at 50"),
    "a small Gemma 4": (
        lambda: gemma4(**SMALL),
        "attend to keys of earlier ones; AIM can reduce neither yet. Load another",
    ),
    "Gemma 2 with windows": (gemma2, "(gemma2) has attention logits soft-capped at 50"),
}
SERVED = {
    "Mistral without a window": lambda: llava(model_type="mistral", sliding_window=None),
    "Qwen2 with a window that no layer is far enough up for": lambda: llava_onevision(**{**OLDER, "max_window_layers": 6}),
    "Qwen2 with its window switched off": lambda: llava_onevision(**{**OLDER, "use_sliding_window": False}),
    "Qwen2.5-VL as published": lambda: qwen2_5_vl(use_sliding_window=False, sliding_window=32768, max_window_layers=4),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_text_model_that_cannot_be_served_is_refused_by_name_before_anything_runs(name):
    make, reason = REFUSED[name]
    model = make()
    before = fingerprint(model)
    with pytest.raises(ValueError) as refusal, aim.reduce(model, aim.Full()):
        pytest.fail("the block must not begin")
    assert reason in str(refusal.value)
    assert fingerprint(model) == before


@pytest.mark.parametrize("name", SERVED)
def test_a_window_that_no_layer_has_is_no_reason_to_refuse(name):
    model = SERVED[name]()
    tiny = TINY[model.config.model_type]
    batch, alone = tiny.batch_inputs()
    with torch.no_grad():
        stock = model.generate(**alone[0], max_new_tokens=8, do_sample=False)
        padded = model(**batch).logits[:, -1]
        with aim.reduce(model, aim.Full()):
            assert torch.equal(model.generate(**alone[0], max_new_tokens=8, do_sample=False), stock)
            torch.testing.assert_close(model(**batch).logits[:, -1], padded, atol=1e-4, rtol=1e-4)
        with aim.reduce(model, aim.FastV(layer=2, keep_ratio=0.5)) as trace:
            model(**alone[0])
    assert trace.tokens_per_layer[-1][0] < trace.tokens_per_layer[0][0]


@pytest.mark.parametrize(("given", "title"), [("s_aux", "attention sinks"), ("softcap", "soft-capping")])
def test_what_a_layer_asks_of_its_attention_and_sdpa_would_forget_is_refused(given, title):
    tensor = torch.zeros(1, 2, 3, 4)
    with pytest.raises(ValueError, match=title):
        attention(torch.nn.Module(), tensor, tensor, tensor, None, scaling=0.5, **{given: 16})


def test_layers_that_are_neither_attention_nor_linear_are_refused():
    model = llava()
    model.config.text_config.layer_types = ["conv", *["full_attention"] * 5]
    with pytest.raises(ValueError, match="layers of the kind 'conv'"), aim.reduce(model, aim.Full()):
        pytest.fail("the block must not begin")


def test_linear_layers_alone_are_refused_since_nothing_scores_a_token():
    model = qwen3_5(layers=3, full_attention_interval=4)
    with pytest.raises(ValueError, match="has no layer that attends to keys"), aim.reduce(model, aim.Full()):
        pytest.fail("the block must not begin")
