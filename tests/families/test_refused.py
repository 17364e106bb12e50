"""Why a family is refused is true of its stock model: where transformers changes that, the test says so."""

import pytest
import torch
from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration

from aim.bench.tiny_models import IMAGE, ready
from tests.tiny import TEXT, TINY, VISION

SIDE = 20


@pytest.fixture(scope="module")
def paligemma():
    """PaliGemma with 5 x 5 tokens a picture."""
    tower = {**VISION, "image_size": SIDE, "patch_size": 4, "num_hidden_layers": 1, "vision_use_head": False, "projection_dim": 32}
    config = PaliGemmaConfig(
        text_config={"model_type": "gemma", **TEXT, "num_hidden_layers": 2, "head_dim": 8, "num_image_tokens": 25},
        vision_config={"model_type": "siglip_vision_model", **tower},
        image_token_index=IMAGE,
        projection_dim=32,
        hidden_size=32,
    )
    return ready(PaliGemmaForConditionalGeneration, config, 0)


def seen_by_the_first_token(model, ids, pixels) -> torch.Tensor:
    """The last hidden state of a prompt's first token."""
    with torch.no_grad():
        return model.model(input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels).last_hidden_state[0, 0]


@pytest.mark.parametrize("name", ["paligemma", "llava"])
def test_the_first_token_of_paligemmas_prompt_sees_the_last_word_and_that_of_llavas_does_not(paligemma, name):
    model = paligemma if name == "paligemma" else TINY["llava"].model()
    pixels = torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    first, other = (seen_by_the_first_token(model, torch.tensor([[*[IMAGE] * 25, 5, last]]), pixels) for last in (7, 8))
    assert torch.allclose(first, other, atol=1e-5) == (name == "llava")
