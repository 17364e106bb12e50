"""Qwen2.5-VL in vLLM, with each step's visual tokens merged. A clip is one picture whose time goes on with its seconds."""

from __future__ import annotations

from vllm.model_executor.models.qwen2_5_vl import (
    Qwen2_5_VLDummyInputsBuilder,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLMultiModalProcessor,
    Qwen2_5_VLProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from aim.serving.vllm.merged import merged
from aim.serving.vllm.mrope import MropeModel, MropeProcessor
from aim.serving.vllm.places import grid_places, with_places


class MergingQwenProcessor(MropeProcessor, Qwen2_5_VLMultiModalProcessor):
    """vLLM's processor, with a short prompt."""


@MULTIMODAL_REGISTRY.register_processor(MergingQwenProcessor, info=Qwen2_5_VLProcessingInfo, dummy_inputs=Qwen2_5_VLDummyInputsBuilder)
class MergingQwen2_5_VL(MropeModel, Qwen2_5_VLForConditionalGeneration):
    """vLLM's model, which merges what its tower made of a clip."""

    def _postprocess_video_embeds_evs(self, video_embeds_split, video_input):
        sizes, seconds = video_input["video_grid_thw"].tolist(), video_input.get("second_per_grid_ts")
        factors = [self._steps(second) for second in ([1.0] * len(sizes) if seconds is None else seconds.flatten().tolist())]
        embeddings = []
        for patches, size, factor, target in zip(video_embeds_split, sizes, factors, self.targets, strict=True):
            tokens, anchors = merged(patches, size[0], target)
            places = grid_places(size[0], *self.sides(size), factor)
            embeddings.append(with_places(tokens, places[:, anchors.cpu()]))
        return tuple(embeddings)

    def pictures(self, input_tokens, mm_features):
        features = sorted(mm_features, key=lambda feature: feature.mm_position.offset)
        for feature, (offset, steps, rows, columns, factor) in zip(features, self.iter_mm_grid_thw(features), strict=True):
            yield offset, feature.mm_position.length, grid_places(steps, rows, columns, factor)

    def _steps(self, seconds: float) -> float:
        return seconds * getattr(self.config.vision_config, "tokens_per_second", 1.0)
