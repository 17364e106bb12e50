"""What vLLM's models with positions in time, height and width (M-RoPE) share. A merged token keeps the position of its anchor, and text
goes on where it would have gone on without merging.

vLLM counts positions before the tower has run, when the anchors are not known. Its way around that is made for EVS and is used here: the
positions travel as further columns of the embeddings, and the runner asks `recompute_mrope_positions` to take them off.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator

import torch
from torch import Tensor
from vllm.model_executor.models.interfaces import SupportsMRoPE

from aim.kernels.refusal import Refusal
from aim.serving.vllm.merged import tell
from aim.serving.vllm.places import COLUMNS, grid_places, on_embeddings, text_and_bases, with_places
from aim.serving.vllm.processing import RATIO, MergingProcessor


class MropeProcessor(MergingProcessor):
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


class MropeModel(SupportsMRoPE):
    """Goes in front of vLLM's own model; where `--video-pruning-rate` is given, merging stands in for EVS.

    A subclass gives `pictures`, and `_postprocess_video_embeds_evs`, which vLLM's `embed_multimodal` calls.
    """

    def __init__(self, *, vllm_config, prefix: str = "") -> None:
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        tell(self.multimodal_config)

    @abstractmethod
    def pictures(self, input_tokens: list[int], mm_features: list) -> Iterator[tuple[int, int, Tensor]]:
        """Of each image, and of each part of a clip with no text in it: where its placeholders start in the prompt, how many there are,
        and the places [3, T] of its whole grid."""

    def embed_multimodal(self, merge_target: Tensor | None = None, **kwargs):
        """As vLLM's; `merge_target` [clips] waits for `_postprocess_video_embeds_evs`, which vLLM's calls without it."""
        self.targets = [] if merge_target is None else merge_target.flatten().tolist()
        return super().embed_multimodal(**kwargs)

    def _postprocess_image_embeds_evs(self, image_embeds_split, image_input):
        if not self.is_multimodal_pruning_enabled:
            return image_embeds_split
        sizes = image_input["image_grid_thw"].tolist()
        return tuple(
            with_places(image, grid_places(size[0], *self.sides(size))) for image, size in zip(image_embeds_split, sizes, strict=True)
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
        positions = text_and_bases(len(input_tokens), self.pictures(input_tokens, mm_features))
        return positions, int(positions.max()) + 1 - len(input_tokens)

    def sides(self, size: list[int]) -> tuple[int, int]:
        """Rows and columns of a step's tokens, for a row (steps, rows, columns) of `..._grid_thw`, which counts the tower's patches."""
        merge = self.visual.spatial_merge_size
        return size[1] // merge, size[2] // merge
