"""Qwen3-VL in vLLM, with each step's visual tokens merged, and with them the features of the tower's depths (DeepStack). The prompt tells
the time before every step in words, so a step is a picture of its own."""

from __future__ import annotations

from vllm.model_executor.models.qwen3_vl import (
    Qwen3VLDummyInputsBuilder,
    Qwen3VLForConditionalGeneration,
    Qwen3VLMultiModalProcessor,
    Qwen3VLProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from aim.serving.vllm.merged import merged
from aim.serving.vllm.mrope import MropeModel, MropeProcessor
from aim.serving.vllm.places import grid_places, with_places


class MergingQwen3Processor(MropeProcessor, Qwen3VLMultiModalProcessor):
    """vLLM's processor, with short steps. EVS puts all placeholders of a clip into its first step; here each step has its own."""

    def placeholders(self, target, frames, left, item):
        config = self.info.get_hf_config()
        return self.get_video_repl(
            tokens_per_frame=[left] * frames,
            timestamps=item["timestamps"].data,
            tokenizer=self.info.get_tokenizer(),
            vision_start_token_id=config.vision_start_token_id,
            vision_end_token_id=config.vision_end_token_id,
            video_token_id=config.video_token_id,
            select_token_id=True,
        )


@MULTIMODAL_REGISTRY.register_processor(MergingQwen3Processor, info=Qwen3VLProcessingInfo, dummy_inputs=Qwen3VLDummyInputsBuilder)
class MergingQwen3VL(MropeModel, Qwen3VLForConditionalGeneration):
    """vLLM's model, which merges what its tower made of a clip. A token is as wide as the LLM, and then once more for each depth."""

    def _postprocess_video_embeds_evs(self, video_embeds_split, video_input):
        embeddings = []
        for patches, size, target in zip(video_embeds_split, video_input["video_grid_thw"].tolist(), self.targets, strict=True):
            tokens, anchors = merged(patches, size[0], target, width=self.visual_dim)
            step = grid_places(1, *self.sides(size)).repeat(1, size[0])
            embeddings.append(with_places(tokens, step[:, anchors.cpu()]))
        return tuple(embeddings)

    def pictures(self, input_tokens, mm_features):
        config, merge = self.config, self.visual.spatial_merge_size
        markers = config.video_token_id, config.vision_start_token_id, config.vision_end_token_id
        for offset, rows, columns, count in self._iter_mm_grid_hw(input_tokens, mm_features, *markers, merge):
            yield offset, count, grid_places(1, rows, columns)
