"""Frames to pixel values, against the official video processors. They need torchvision; collected only where it imports."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.internvl.video_processing_internvl import InternVLVideoProcessor
from transformers.models.llava_onevision.video_processing_llava_onevision import LlavaOnevisionVideoProcessor
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

from aim.families import FAMILIES
from tests.tiny import TINY

pytestmark = pytest.mark.torchvision

COMMON = {"image_mean": [0.48, 0.45, 0.4], "image_std": [0.26, 0.27, 0.28], "resample": 3, "rescale_factor": 1 / 255}
SQUARE = {**COMMON, "size": {"height": 40, "width": 40}}
LIMITS = {**COMMON, "size": {"shortest_edge": 64, "longest_edge": 4000}}
# torchvision resizes with weights of its own rounding: up to two steps of 255, over the smallest deviation.
TOLERANCE = 2.01 / 255 / 0.26


@pytest.mark.parametrize(
    ("name", "settings", "processor"),
    [
        ("llava_onevision", SQUARE, lambda: LlavaOnevisionVideoProcessor(**SQUARE)),
        ("internvl", SQUARE, lambda: InternVLVideoProcessor(**SQUARE)),
        (
            "qwen2_vl",
            LIMITS,
            lambda: Qwen2VLVideoProcessor(**LIMITS, patch_size=4, temporal_patch_size=2, merge_size=2, cap_pixels_per_frame=False),
        ),
    ],
)
@pytest.mark.parametrize("shape", [(5, 37, 61), (4, 64, 48)])
def test_pixels_equal_the_official_video_processor(name, settings, processor, shape):
    noise = np.random.default_rng(0).integers(0, 256, (shape[0], 8, 8, 3), dtype=np.uint8)
    frames = np.stack([np.asarray(Image.fromarray(frame).resize((shape[2], shape[1]), 3)) for frame in noise])
    ours = FAMILIES[name].pixel_values(TINY[name].model().config, frames, settings)
    official = processor()(videos=[torch.from_numpy(frames).permute(0, 3, 1, 2)], return_tensors="pt", do_sample_frames=False)
    pixels = next(value for key, value in ours.items() if key.startswith("pixel_values"))
    expected = official["pixel_values_videos"].reshape(pixels.shape)
    assert (pixels - expected).abs().max() <= TOLERANCE
    if "video_grid_thw" in ours:
        assert torch.equal(ours["video_grid_thw"], official["video_grid_thw"])
