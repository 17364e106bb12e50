"""Qwen2.5-VL in vLLM, with each step's visual tokens merged. A merged token keeps the position in time, height and width of its anchor, and
text goes on where it would have gone on without merging.

vLLM counts positions before the tower has run, when the anchors are not known. Its way around that is made for EVS and is used here: the
positions travel as further columns of the embeddings, and the runner asks `recompute_mrope_positions` to take them off.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from vllm.model_executor.models.qwen2_5_vl import (
    Qwen2_5_VLDummyInputsBuilder,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLMultiModalProcessor,
    Qwen2_5_VLProcessingInfo,
)
from vllm.multimodal import MULTIMODAL_REGISTRY

from aim.kernels.refusal import Refusal
from aim.serving.vllm.merged import merged, tell
from aim.serving.vllm.places import COLUMNS, grid_places, on_embeddings, text_and_bases, with_places
from aim.serving.vllm.processing import RATIO, MergingProcessor


class MergingQwenProcessor(MergingProcessor, Qwen2_5_VLMultiModalProcessor):
    """Two frames are one step, whose tokens merge."""

    def frames_of(self, data, clip):
        steps, rows, columns = (int(size) for size in data["video_grid_thw"][clip])
        return steps, rows * columns // self.info.get_image_processor().merge_size ** 2

    def check_request(self, inputs):
        if RATIO in inputs.hf_processor_mm_kwargs and not self.info.ctx.get_mm_config().is_multimodal_pruning_enabled():
            raise Refusal(
                "merge_ratio was given, and this server was started without --video-pruning-rate, which this model's positions need; "
                "leave it out, or start the server with a rate such as 0.75, beside which a request may give any ratio."
            )
        super().check_request(inputs)


@MULTIMODAL_REGISTRY.register_processor(MergingQwenProcessor, info=Qwen2_5_VLProcessingInfo, dummy_inputs=Qwen2_5_VLDummyInputsBuilder)
class MergingQwen2_5_VL(Qwen2_5_VLForConditionalGeneration):
    """vLLM's model; where `--video-pruning-rate` is given, merging stands in for EVS."""

    def __init__(self, *, vllm_config, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        tell(self.video_pruning_rate)

    def embed_multimodal(self, merge_target: Tensor | None = None, **kwargs):
        """As vLLM's; `merge_target` [clips] waits for `_postprocess_video_embeds_evs`, which vLLM's calls without it."""
        self._targets = [] if merge_target is None else merge_target.flatten().tolist()
        return super().embed_multimodal(**kwargs)

    def _postprocess_video_embeds_evs(self, video_embeds_split, video_input):
        sizes, seconds = video_input["video_grid_thw"].tolist(), video_input.get("second_per_grid_ts")
        factors = [self._steps(second) for second in ([1.0] * len(sizes) if seconds is None else seconds.flatten().tolist())]
        embeddings = []
        for patches, size, factor, target in zip(video_embeds_split, sizes, factors, self._targets, strict=True):
            tokens, anchors = merged(patches, size[0], target)
            places = grid_places(size[0], *self._sides(size), factor)
            embeddings.append(with_places(tokens, places[:, anchors.cpu()]))
        return tuple(embeddings)

    def _postprocess_image_embeds_evs(self, image_embeds_split, image_input):
        sizes = image_input["image_grid_thw"].tolist()
        return tuple(
            with_places(image, grid_places(size[0], *self._sides(size))) for image, size in zip(image_embeds_split, sizes, strict=True)
        )

    def recompute_mrope_positions(self, input_ids, multimodal_embeddings, mrope_positions, num_computed_tokens):
        ids = torch.as_tensor(input_ids, device="cpu")
        visual = (ids == self.config.image_token_id) | (ids == self.config.video_token_id)
        positions = on_embeddings(visual, multimodal_embeddings, mrope_positions.cpu(), num_computed_tokens)
        embeddings = [embedding[:, :-COLUMNS] for embedding in multimodal_embeddings]
        return embeddings, positions.to(mrope_positions.device), int(positions.max()) + 1 - len(ids)

    def get_mrope_input_positions(self, input_tokens, mm_features):
        if not self.is_multimodal_pruning_enabled:
            return super().get_mrope_input_positions(input_tokens, mm_features)
        positions = text_and_bases(len(input_tokens), self._clips_and_images(mm_features))
        return positions, int(positions.max()) + 1 - len(input_tokens)

    def _clips_and_images(self, mm_features) -> Iterator[tuple[int, int, Tensor]]:
        """Of each clip or image in the prompt: where its placeholders start, how many there are, and the places of its whole grid."""
        features = sorted(mm_features, key=lambda feature: feature.mm_position.offset)
        for feature, (offset, steps, rows, columns, factor) in zip(features, self.iter_mm_grid_thw(features), strict=True):
            yield offset, feature.mm_position.length, grid_places(steps, rows, columns, factor)

    def _steps(self, seconds: float) -> float:
        return seconds * getattr(self.config.vision_config, "tokens_per_second", 1.0)

    def _sides(self, size: list[int]) -> tuple[int, int]:
        merge = self.visual.spatial_merge_size
        return size[1] // merge, size[2] // merge
