"""LLaVA-OneVision in vLLM, with each frame's visual tokens merged. Positions are 0, 1, 2… of the short prompt, as in the paper."""

from __future__ import annotations

import math

import torch
from vllm.model_executor.layers.layernorm import LayerNorm
from vllm.model_executor.models.llava_onevision import (
    LlavaOnevisionDummyInputsBuilder,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionMultiModalProcessor,
    LlavaOnevisionProcessingInfo,
)
from vllm.model_executor.models.utils import WeightsMapper
from vllm.multimodal import MULTIMODAL_REGISTRY

from aim.serving.vllm.merged import merged, tell
from aim.serving.vllm.processing import MergingProcessor

# transformers of today writes a SigLIP tower without its inner prefix, which vLLM 0.32 still expects.
TOWER = {f"vision_tower.{part}.": f"vision_tower.vision_model.{part}." for part in ("embeddings", "encoder", "post_layernorm")}


class MergingOnevisionProcessor(MergingProcessor, LlavaOnevisionMultiModalProcessor):
    """With the newline that ends each clip."""

    separators = 1

    def frames_of(self, data, clip):
        return len(data["pixel_values_videos"][clip]), self.info._get_num_frame_tokens(image_width=1, image_height=1)


@MULTIMODAL_REGISTRY.register_processor(
    MergingOnevisionProcessor, info=LlavaOnevisionProcessingInfo, dummy_inputs=LlavaOnevisionDummyInputsBuilder
)
class MergingLlavaOnevision(LlavaOnevisionForConditionalGeneration):
    """vLLM's model; `embed_multimodal` merges what its tower made of a clip."""

    hf_to_vllm_mapper = LlavaOnevisionForConditionalGeneration.hf_to_vllm_mapper | WeightsMapper(orig_to_new_prefix=TOWER)

    def __init__(self, *, vllm_config, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        vision = self.config.vision_config
        if getattr(vision, "tie_last_hidden_states", False):  # the bundled checkpoint's features went through the tower's last norm
            tower = self.vision_tower.vision_model
            tower.post_layernorm = LayerNorm(vision.hidden_size, eps=vision.layer_norm_eps)
            del tower.hf_to_vllm_mapper  # which would leave the norm's weights out
        # Half the tower's side, rounded up, as `apply_pooling` makes it.
        self.tokens_per_frame = math.ceil(vision.image_size // vision.patch_size / 2) ** 2
        tell(self.multimodal_config)

    def embed_multimodal(self, merge_target: torch.Tensor | None = None, **kwargs):
        """The embeddings of each clip or image. vLLM gives clips apart from images, and `merge_target` [clips] with them."""
        clips = kwargs.get("pixel_values_videos")
        if merge_target is None or clips is None:
            return super().embed_multimodal(**kwargs)
        targets = merge_target.flatten().tolist()
        if set(targets) == {self.tokens_per_frame}:
            return super().embed_multimodal(**kwargs)
        embeddings = []
        # One after another, because vLLM's budget of the tower counts the merged tokens.
        for clip, target in zip(clips, targets, strict=True):
            [tokens] = super().embed_multimodal(pixel_values_videos=clip[None])
            tokens = tokens.flatten(0, -2)
            embeddings.append(torch.cat([merged(tokens[:-1], len(clip), target)[0], tokens[-1:]]))
        return tuple(embeddings)
