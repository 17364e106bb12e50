"""Models wrapped by PEFT: reduced as the model inside is, adapters at work, nothing left behind."""

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, TaskType, get_peft_model

import aim
from tests.tiny import FEWER, TINY, fingerprint

METHODS = [aim.AIM(merge_ratio=0.5, l1=2, l2=5), aim.PyramidDrop(ratio=0.5), aim.PruMerge(keep_ratio=0.4)]
OPTIONS = {"max_new_tokens": 6, "do_sample": False}


def adapted(model):
    """LoRA on the attention of tower and text model, its second factor random, so that it changes the answer."""
    torch.manual_seed(1)
    linears = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    chosen = [name for name in linears if {"q_proj", "v_proj"} & set(name.split("."))]
    return get_peft_model(model, LoraConfig(r=4, target_modules=chosen, init_lora_weights=False)).eval()


@pytest.fixture(scope="module", params=FEWER)
def family(request):
    return TINY[request.param]


@pytest.fixture(scope="module")
def wrapped(family):
    return adapted(family.model())


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_wrapped_model_is_reduced_as_the_model_inside(family, wrapped, method):
    inputs = family.video_inputs()
    with torch.no_grad():
        with aim.reduce(wrapped.get_base_model(), method) as inside:
            expected = wrapped.generate(**inputs, **OPTIONS)
        with aim.reduce(wrapped, method) as trace:
            ours = wrapped.generate(**inputs, **OPTIONS)
    assert torch.equal(ours, expected)
    assert trace.tokens_per_layer == inside.tokens_per_layer and trace.tokens_per_layer[-1][0] < trace.visual_tokens


def test_the_adapters_stay_at_work(family, wrapped):
    inputs = family.video_inputs()
    with torch.no_grad():
        stock = wrapped(**inputs).logits
        with aim.reduce(wrapped, aim.Full()):
            assert torch.equal(wrapped(**inputs).logits, stock)
            with wrapped.disable_adapter():
                assert not torch.equal(wrapped(**inputs).logits, stock)


def test_nothing_is_left_on_the_model_inside(family, wrapped):
    inputs = family.video_inputs()
    with torch.no_grad():
        wrapped.generate(**inputs, **OPTIONS)
        before = fingerprint(wrapped.get_base_model())
        with aim.reduce(wrapped, METHODS[0]):
            wrapped.generate(**inputs, **OPTIONS)
        with pytest.raises(KeyError), aim.reduce(wrapped, METHODS[0]):
            raise KeyError
    assert fingerprint(wrapped.get_base_model()) == before


def test_adapters_that_lengthen_the_prompt_as_embeddings_are_refused_in_words():
    tiny = TINY["llava_onevision"]
    config = PromptTuningConfig(task_type=TaskType.CAUSAL_LM, num_virtual_tokens=3, num_attention_heads=4, num_layers=6, token_dim=32)
    model = get_peft_model(tiny.model(), config).eval()
    inputs = {name: tiny.video_inputs()[name] for name in ("input_ids", "attention_mask")}
    with pytest.raises(ValueError, match="came as embeddings"), aim.reduce(model, METHODS[0]), torch.no_grad():
        model(**inputs)
