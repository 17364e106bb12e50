"""Keys of the caches and refusals, in vLLM's own processing without an engine."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from vllm.multimodal.parse import MultiModalDataParser
from vllm.multimodal.processing import BaseMultiModalProcessor
from vllm.multimodal.processing.inputs import ProcessorInputs

from aim.kernels.refusal import Refusal
from aim.serving.vllm.plugin import register
from aim.serving.vllm.processing import MergingProcessor


class Keys(MergingProcessor):
    """A processor that is only asked for keys, on a server with this --video-pruning-rate."""

    def __init__(self, rate: float | None):
        config = SimpleNamespace(video_pruning_rate=rate, mm_hasher_algorithm="sha256")
        self.info = SimpleNamespace(model_id="model", ctx=SimpleNamespace(get_mm_config=lambda: config, get_merged_mm_kwargs=dict))

    def frames_of(self, data, clip):
        return 2, 16


def key(rate: float | None, **asked) -> str:
    clip = MultiModalDataParser().parse_mm_data({"video": [np.zeros((2, 8, 8, 3), dtype=np.uint8)]})
    [of_clip] = Keys(rate)._get_mm_hashes(ProcessorInputs([], clip, hf_processor_mm_kwargs=asked))["video"]
    return of_clip


def test_the_ratio_is_in_the_key_of_a_clip_wherever_it_comes_from():
    assert len({key(None), key(0.5), key(0.75), key(0.9)}) == 4
    assert key(0.75) == key(0.5, merge_ratio=0.25) == key(None, merge_ratio=0.25)
    assert key(0.9) == key(None, merge_ratio=0.1)  # 1 - 0.9 is a little less than 0.1
    assert key(0.75) != key(0.75, merge_ratio=0.5)


def test_a_ratio_for_a_model_that_cannot_merge_is_refused():
    register()
    with pytest.raises(Refusal, match="merge_ratio was given, and this server's model cannot merge; Llava.* can. Leave it out"):
        BaseMultiModalProcessor.apply(SimpleNamespace(), SimpleNamespace(hf_processor_mm_kwargs={"merge_ratio": 0.5}), None)
