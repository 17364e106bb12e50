"""A prompt with as few placeholders as merging leaves, so that the scheduler and the KV cache only ever see the short prompt.

The merge ratio is a request's own (`mm_processor_kwargs={"merge_ratio": 0.5}`), else 1 - `--video-pruning-rate`, else 1.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.processing import BaseMultiModalProcessor, PromptReplacement

from aim.kernels.bounds import SHARE
from aim.kernels.counts import exact
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import merged_per_frame

RATIO = "merge_ratio"
TARGET = "merge_target"  # beside a clip's pixels: the tokens that merging leaves of each of its frames


class MergingProcessor(BaseMultiModalProcessor):
    """Goes in front of a model's own processor, whose methods it calls.

    A subclass sets `separators`, the placeholders of a clip that are not merged, and `frames_of`.
    """

    separators = 0

    @abstractmethod
    def frames_of(self, data: Mapping[str, Any], clip: int) -> tuple[int, int]:
        """Frames of a clip, and the visual tokens of each, from what the model's processor made."""

    def check_request(self, inputs) -> None:
        """Refuse a ratio that cannot be served.

        Raises:
            Refusal: the ratio is not in (0, 1], or there is no clip to merge.
        """
        ratio = self._ratio(inputs.hf_processor_mm_kwargs)
        SHARE.check(RATIO, ratio, "Use 1 to merge nothing.")
        if RATIO in inputs.hf_processor_mm_kwargs and not inputs.mm_data_items.get_all_counts().get("video"):
            raise Refusal("merge_ratio was given with images alone; it is of a clip. Leave it out, or send a clip.")

    def apply(self, inputs, timing_ctx):
        self.check_request(inputs)
        return super().apply(inputs, timing_ctx)

    def _ratio(self, kwargs: Mapping[str, object]) -> Any:
        given = self.info.ctx.get_merged_mm_kwargs(kwargs)
        rate = self.info.ctx.get_mm_config().video_pruning_rate or 0.0
        return given.get(RATIO, float(1 - exact(rate)))

    def _get_mm_hashes(self, inputs):
        # These are the keys of the caches, also of those that servers with other rates share. vLLM leaves the rate out of them.
        kwargs = {**inputs.hf_processor_mm_kwargs, RATIO: float(self._ratio(inputs.hf_processor_mm_kwargs))}
        return super()._get_mm_hashes(replace(inputs, hf_processor_mm_kwargs=kwargs))

    def _apply_hf_processor_main(self, mm_items, hf_kwargs):
        data = super()._apply_hf_processor_main(mm_items, _without_ratio(hf_kwargs))
        clips = mm_items.get_all_counts().get("video", 0)
        if clips:
            ratio = self._ratio(hf_kwargs)
            data[TARGET] = torch.tensor([merged_per_frame(ratio, self.frames_of(data, clip)[1]) for clip in range(clips)])
        return data

    def _get_mm_fields_config(self, hf_inputs, hf_processor_mm_kwargs):
        fields = super()._get_mm_fields_config(hf_inputs, _without_ratio(hf_processor_mm_kwargs))
        return {**fields, TARGET: MultiModalFieldConfig.batched("video", keep_on_cpu=True)}

    def _get_prompt_updates(self, mm_items, hf_processor_mm_kwargs, out_mm_kwargs):
        updates = super()._get_prompt_updates(mm_items, _without_ratio(hf_processor_mm_kwargs), out_mm_kwargs)
        return [self._merged(update, out_mm_kwargs) if update.modality == "video" else update for update in updates]

    def _merged(self, update, out_mm_kwargs) -> PromptReplacement:
        """The update that puts a clip's placeholders into the prompt, with as many as merging leaves."""

        def placeholders(clip: int):
            item = out_mm_kwargs["video"][clip]
            frames, _ = self.frames_of({name: [element.data] for name, element in item.items()}, 0)
            return self.placeholders(update.target, frames, int(item[TARGET].data), item)

        return PromptReplacement(modality="video", target=update.target, replacement=placeholders)

    def placeholders(self, target: list[int], frames: int, left: int, item: Mapping[str, Any]):
        """What stands for a clip in the prompt, where merging leaves `left` tokens of each frame.

        Args:
            target: the placeholder of a clip before processing, which this replaces.
            item: what the model's processor made of the clip.
        """
        return target * (frames * left + self.separators)


def _without_ratio(kwargs: Mapping[str, object]) -> dict[str, object]:
    """vLLM's and transformers' processors do not know the ratio."""
    return {name: value for name, value in kwargs.items() if name != RATIO}
