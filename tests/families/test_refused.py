"""Why a family is refused is true of its stock model: where transformers changes that, the test says so."""

import numpy as np
import pytest
import torch
from transformers import Granite4VisionConfig, Granite4VisionForConditionalGeneration
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

from aim.bench.tiny_models import IMAGE, ready
from tests.tiny import TEXT, VISION

SIDE, PINPOINTS = 32, [[32, 64], [64, 32], [64, 64]]
BEFORE = [0, 1, 2, 3, 4, 5]  # the LLM's layers that get features, of 6


@pytest.fixture(scope="module")
def model():
    """Granite 4 Vision with 4 x 4 tokens a view (8 x 8 patches)."""
    scales = {"embedding_multiplier": 3.0, "attention_multiplier": 0.3, "residual_multiplier": 0.5, "logits_scaling": 2.0}
    tower = {**VISION, "hidden_size": 64, "image_size": SIDE, "patch_size": 4, "num_hidden_layers": 3, "vision_use_head": False}
    joining = {"hidden_size": 64, "encoder_hidden_size": 64, "num_attention_heads": 1, "num_hidden_layers": 1, "intermediate_size": 64}
    joining |= {"model_type": "blip_2_qformer", "cross_attention_frequency": 1, "use_qformer_text_input": False}
    config = Granite4VisionConfig(
        text_config={**TEXT, "num_hidden_layers": 6, **scales},
        vision_config={"model_type": "siglip_vision_model", **tower},
        qformer_config=joining,
        image_token_index=IMAGE,
        image_grid_pinpoints=PINPOINTS,
        downsample_rate="2/4",
        vision_feature_select_strategy="full",
        deepstack_layer_map=[[-3, 2], [-1, 0]],
        spatial_target_layers=[1, 3, 4, 5],
    )
    return ready(Granite4VisionForConditionalGeneration, config, 0)


@pytest.mark.parametrize("shape", [(36, 60), (8, 8), (32, 32)])
def test_granite_shows_even_a_small_picture_whole_and_in_tiles_and_takes_none_without(model, shape):
    square = {"height": SIDE, "width": SIDE}
    processor = LlavaNextImageProcessorPil(size=square, crop_size=square, image_grid_pinpoints=PINPOINTS)
    made = processor(np.zeros((*shape, 3), np.uint8), return_tensors="pt")
    views, sizes = made["pixel_values"], made["image_sizes"]
    assert views.shape[1] >= 3  # the whole view, and two tiles or more
    with torch.no_grad():
        [(_, [tokens]), *_] = model.model.get_image_features(views, sizes, return_dict=True).deepstack_features
        with pytest.raises(RuntimeError, match="split"):
            model.model.get_image_features(views[:, :1], sizes, return_dict=True)
    newlines = (tokens == model.model.image_newline).all(-1).sum()
    assert len(tokens) > 2 * 16 and newlines >= 4  # a grid of 4 x 4, and a larger one whose rows end with the newline


def test_the_visual_tokens_of_granite_enter_the_llm_empty_and_get_features_before_several_layers(model):
    seen = {}
    hook = model.model.language_model.register_forward_pre_hook(lambda _module, _args, given: seen.update(given), with_kwargs=True)
    ids = torch.tensor([[5, *[IMAGE] * 44, 7]])
    with torch.no_grad():
        model(input_ids=ids, pixel_values=torch.randn(1, 3, 3, SIDE, SIDE), image_sizes=torch.tensor([[30, 50]]))
    hook.remove()
    assert not seen["inputs_embeds"][ids == IMAGE].any() and seen["inputs_embeds"][ids != IMAGE].all()
    assert sorted(seen["deepstack_features"]) == BEFORE
