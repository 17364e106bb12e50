"""What could be chosen on a machine: how much memory each model takes there."""

import pytest
import torch
from transformers import AutoModelForImageTextToText

from aim.families import FAMILIES, find_published
from aim.runtime import offers as module
from aim.runtime.download import loaded_bytes
from aim.runtime.offers import FRAMES, offers, room
from tests.tiny_checkpoints import save_checkpoint

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "name", ["HuggingFaceTB/SmolVLM2-500M-Video-Instruct", pytest.param("Qwen/Qwen3-VL-2B-Instruct", marks=pytest.mark.whole)]
)
def test_planned_weights_are_those_of_the_stock_model_of_that_shape(name):
    """Embeddings and head count twice in the plan, also where a model shares them. Biases, norms and a few small matrices do not count."""
    config = find_published(name).config()
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    stock = sum(weights.numel() for weights in model.parameters())
    twice = config.text_config.vocab_size * config.text_config.hidden_size if config.tie_word_embeddings else 0
    offer = next(offer for offer in offers(4) if offer.name == name)
    assert offer.weight_bytes == pytest.approx(4 * (stock + twice), rel=0.04)


def test_the_kv_cache_is_that_of_all_layers_on_all_tokens():
    offer = next(offer for offer in offers(2) if offer.name == "llava-hf/llava-onevision-qwen2-0.5b-ov-hf")
    layers, key_heads, head, tokens = 24, 2, 64, FRAMES * 196 + 100
    assert offer.kv_bytes == 2 * layers * key_heads * head * tokens * 2
    assert offer.needs == offer.weight_bytes + offer.kv_bytes


def test_every_published_shape_is_offered_once_the_smallest_first_and_each_says_what_it_is_good_for():
    known = offers(2)
    assert known[0].name == "bundled" and sorted(known, key=lambda offer: offer.needs) == known
    assert len({offer.name for offer in known}) == len(known) == 1 + sum(len(family.published) for family in FAMILIES.values())
    assert all(offer.good_for.endswith(".") for offer in known)


def test_quantised_models_take_less_and_those_with_experts_are_left_out():
    whole = {offer.name: offer.weight_bytes for offer in offers(2)}
    eight = {offer.name: offer.weight_bytes for offer in offers(2, "8bit")}
    four = {offer.name: offer.weight_bytes for offer in offers(2, "4bit")}
    with_experts = {name for name in whole if "-A" in name} | {"stepfun-ai/Step-3.7-Flash", "zai-org/GLM-4.5V", "zai-org/GLM-4.6V"}
    assert set(whole) - set(four) == with_experts
    assert all(four[name] < eight[name] < whole[name] for name in four if name != "bundled")


def test_what_a_host_grants_bounds_the_room_for_a_model_on_a_cpu(monkeypatch):
    monkeypatch.setenv("MEMORY", "1Gi")
    monkeypatch.setattr(module, "available", lambda device: 10**13)
    assert room(CPU) == 2**30
    monkeypatch.delenv("MEMORY")
    assert room(CPU) == 10**13
    monkeypatch.setattr(module, "available", lambda device: None)
    assert room(CPU) is None


def test_the_bytes_that_loading_counts_to_are_those_of_the_loaded_weights(tmp_path):
    import aim

    folder = save_checkpoint("qwen2_vl", tmp_path)
    held = {id(weights): weights.numel() * 4 for weights in aim.load(folder, device="cpu").model.parameters()}
    assert loaded_bytes(folder, 4) == sum(held.values())
    assert loaded_bytes("owner/is-not-here", 4) == 0
