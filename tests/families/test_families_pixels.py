"""Frames to pixel values, against the checkpoints' own image processors (their pillow versions), frame by frame."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen2VLConfig, Qwen3VLConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.llava_onevision.image_processing_pil_llava_onevision import LlavaOnevisionImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

from aim.families import FAMILIES
from aim.families.pixels import normalised_frames
from aim.families.qwen2_vl import MAX_PIXELS
from aim.kernels.refusal import Refusal
from tests.tiny import TINY

MEAN, STD = [0.48, 0.45, 0.4], [0.26, 0.27, 0.28]
COMMON = {"image_mean": MEAN, "image_std": STD, "resample": 3, "rescale_factor": 1 / 255}
SHAPES = [(5, 37, 61), (4, 64, 48), (2, 40, 40)]


def frames_of(shape):
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


def close(ours, official):
    torch.testing.assert_close(ours, torch.as_tensor(np.asarray(official), dtype=torch.float32), rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_llava_onevision_equals_the_whole_view_of_an_image(shape):
    settings, frames = {**COMMON, "size": {"height": 40, "width": 40}}, frames_of(shape)
    pixels = FAMILIES["llava_onevision"].pixel_values(None, frames, settings)["pixel_values_videos"]
    processor = LlavaOnevisionImageProcessorPil(**settings, image_grid_pinpoints=[[40, 40]])
    close(pixels[0], [processor(frame)["pixel_values"][0][0] for frame in frames])


@pytest.mark.parametrize("shape", SHAPES)
def test_llava_resizes_the_shorter_side_and_cuts_out_the_middle(shape):
    settings = {**COMMON, "size": {"shortest_edge": 20}, "crop_size": {"height": 20, "width": 20}}
    frames = frames_of(shape)
    pixels = FAMILIES["llava"].pixel_values(None, frames, settings)["pixel_values"]
    close(pixels, [LlavaImageProcessorPil(**settings)(frame)["pixel_values"][0] for frame in frames])


@pytest.mark.parametrize("shape", SHAPES)
def test_llava_next_video_resizes_the_shorter_side_and_cuts_out_the_middle(shape):
    """Its video processor needs torchvision. It names the same steps as CLIP's image processor."""
    settings = {**COMMON, "size": {"shortest_edge": 40}, "crop_size": {"height": 40, "width": 40}}
    frames = frames_of(shape)
    pixels = FAMILIES["llava_next_video"].pixel_values(None, frames, settings)["pixel_values_videos"]
    close(pixels[0], [CLIPImageProcessorPil(**settings)(frame)["pixel_values"][0] for frame in frames])


@pytest.mark.parametrize("shape", SHAPES)
def test_internvl_takes_a_frame_as_one_tile(shape):
    settings, frames = {**COMMON, "size": {"height": 40, "width": 40}}, frames_of(shape)
    pixels = FAMILIES["internvl"].pixel_values(None, frames, settings)["pixel_values"]
    processor = GotOcr2ImageProcessorPil(**settings, crop_to_patches=False)
    close(pixels, [processor(frame)["pixel_values"][0] for frame in frames])


@pytest.mark.parametrize("shape", SHAPES)
def test_gemma3_takes_a_frame_as_one_square(shape):
    settings, frames = {**COMMON, "resample": 2, "size": {"height": 40, "width": 40}}, frames_of(shape)
    pixels = FAMILIES["gemma3"].pixel_values(None, frames, settings)["pixel_values"]
    close(pixels, [Gemma3ImageProcessorPil(**settings)(frame)["pixel_values"][0] for frame in frames])


@pytest.mark.parametrize("shape", SHAPES)
def test_gemma4_takes_as_many_patches_as_fit_in_the_frames_own_shape(shape):
    """By hand with pillow; its tower has patches of 4 x 4 pixels here, of which 2 x 2 are one of at most 70 tokens."""
    config, frames = TINY["gemma4"].model().config, frames_of(shape)
    made = FAMILIES["gemma4"].pixel_values(config, frames, {"resample": 2, "max_soft_tokens": 70})
    pixels, places = (made[name].flatten(0, -3) for name in ("pixel_values_videos", "video_position_ids"))
    height, width = frames.shape[1:3]
    scale = (70 * 64 / (height * width)) ** 0.5
    height, width = int(height * scale / 8) * 8, int(width * scale / 8) * 8
    for frame, patches in zip(frames, pixels, strict=True):
        resized = np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR)) / 255
        cells = [(column, row) for row in range(height // 4) for column in range(width // 4)]
        assert places[0].tolist() == [list(cell) for cell in cells]
        expected = [resized[4 * row : 4 * row + 4, 4 * column : 4 * column + 4].reshape(-1) for column, row in cells]
        torch.testing.assert_close(patches, torch.tensor(np.stack(expected), dtype=torch.float32), rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_smolvlm_takes_a_frame_as_one_square_resized_twice(shape):
    """By hand with pillow, as its video processor does: to the longer side, which keeps the aspect, and then to the square."""
    settings, frames = {**COMMON, "resample": 1, "size": {"longest_edge": 60}, "max_image_size": {"longest_edge": 40}}, frames_of(shape)
    pixels = FAMILIES["smolvlm"].pixel_values(TINY["smolvlm"].model().config, frames, settings)["pixel_values"]
    height, width = (side * 60 / max(shape[1:]) for side in shape[1:])
    height, width = (int(side) + int(side) % 2 if side < 60 else 60 for side in (height, width))
    made = [Image.fromarray(frame).resize((width, height), 1).resize((40, 40), 1) for frame in frames]
    expected = (np.stack([np.asarray(one) for one in made]) / 255 - np.array(MEAN)) / np.array(STD)
    close(pixels[0], expected.transpose(0, 3, 1, 2))
    sampled = {**settings, "size": {"longest_edge": 1000}, "video_sampling": {"fps": 1, "video_size": {"longest_edge": 60}}}
    config = TINY["smolvlm"].model().config
    assert torch.equal(FAMILIES["smolvlm"].pixel_values(config, frames, sampled)["pixel_values"], pixels)
    config.vision_config.image_size = 60  # the larger tower, whose checkpoint's settings say as much
    assert FAMILIES["smolvlm"].pixel_values(config, frames, COMMON)["pixel_values"].shape == (1, len(frames), 3, 60, 60)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("limits", [{"min_pixels": 64, "max_pixels": 10**7}, {"size": {"shortest_edge": 4000, "longest_edge": 5000}}])
@pytest.mark.parametrize("name", [name for name in ("qwen2_vl", "qwen2_5_omni_thinker") if name in TINY])
def test_qwen_lays_patches_as_its_processor_does_and_pairs_frames(name, shape, limits):
    config, frames = TINY[name].model().config, frames_of(shape)
    made = FAMILIES[name].pixel_values(config, frames, {**COMMON, **limits})
    processor = Qwen2VLImageProcessorPil(**COMMON, **limits, patch_size=4, temporal_patch_size=2, merge_size=2)
    steps, rows, columns = made["video_grid_thw"][0].tolist()
    patches = made["pixel_values_videos"].view(steps, rows * columns, 3, 2, 16)
    assert steps == math.ceil(shape[0] / 2)
    padded = [*frames, frames[-1]][: 2 * steps]
    for number, frame in enumerate(padded):
        official = processor(frame)
        assert official["image_grid_thw"][0].tolist() == [1, rows, columns]
        still = torch.as_tensor(np.asarray(official["pixel_values"]), dtype=torch.float32).view(rows * columns, 3, 2, 16)
        torch.testing.assert_close(patches[number // 2, :, :, number % 2], still[:, :, number % 2], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl"])
def test_the_grid_is_known_before_the_pixels_are(name):
    config, entry = TINY[name].model().config, FAMILIES[name]
    for shape in SHAPES:
        settings = {**COMMON, "min_pixels": 64, "max_pixels": 1500}
        steps, rows, columns = entry.pixel_values(config, frames_of(shape), settings)["video_grid_thw"][0].tolist()
        grid = entry.grid(config, settings, *shape)
        assert (grid.frames, grid.rows, grid.columns) == (steps, rows // 2, columns // 2)


@pytest.mark.parametrize("limits", [(64, 10**7), (64, 20_000), (40_000, 10**7)])
@pytest.mark.parametrize("capped", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_qwen3_sizes_and_lays_a_clip_as_its_own_video_processor_does(limits, capped, shape):
    size = {"shortest_edge": limits[0], "longest_edge": limits[1]}
    settings = {**COMMON, "size": size, "cap_pixels_per_frame": capped, "max_video_tokens": 12}
    config, entry, frames = TINY["qwen3_vl"].model().config, FAMILIES["qwen3_vl"], frames_of(shape)
    processor = Qwen3VLVideoProcessor(**settings, patch_size=4)
    made, grid = entry.pixel_values(config, frames, settings), entry.grid(config, settings, *shape)
    steps, rows, columns = made["video_grid_thw"][0].tolist()
    assert (grid.frames, grid.rows, grid.columns) == (math.ceil(shape[0] / 2), rows // 2, columns // 2)
    counted = steps, shape[0] // 2  # the first releases counted no step for an odd last frame, and made one
    assert processor.get_num_of_video_patches(*shape) in [number * rows * columns for number in counted]
    # Its own resizing needs torchvision; rounding apart, it is pillow's.
    pixels = normalised_frames(frames, settings, 4 * rows, 4 * columns)
    official, *lengths = processor.patchify(pixels[None], patch_size=4, merge_size=2, temporal_patch_size=2)
    assert lengths == [steps, rows, columns] and torch.equal(made["pixel_values_videos"], official[0])


def test_a_single_frame_is_a_step_of_its_own():
    config, entry = TINY["qwen3_vl"].model().config, FAMILIES["qwen3_vl"]
    for limits in ({}, {"size": {"shortest_edge": 64, "longest_edge": 2 * 16 * 24}}):
        one, pair = (entry.grid(config, {**COMMON, **limits}, frames, 37, 61) for frames in (1, 2))
        assert one == pair and one.frames == 1


def test_a_long_clip_of_qwen3_shares_its_pixels_among_its_frames():
    entry, config = FAMILIES["qwen3_vl"], Qwen3VLConfig()
    short, long = (entry.grid(config, {}, frames, 360, 640) for frames in (100, 400))
    assert (short.rows, short.columns) == (11, 20) and 400 * long.tokens_per_frame * 32 * 32 <= 25165824 < 400 * 220 * 32 * 32


def test_a_clip_of_640_by_360_is_299_tokens_and_a_huge_one_is_capped():
    entry, config = FAMILIES["qwen2_vl"], Qwen2VLConfig()
    published = {"min_pixels": 3136, "max_pixels": 12845056}
    assert entry.grid(config, published, 16, 360, 640).tokens == entry.grid(config, {}, 16, 360, 640).tokens == 8 * 13 * 23
    assert entry.grid(config, published, 2, 2160, 3840).tokens * 28 * 28 <= MAX_PIXELS


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen3_vl"])
def test_a_ribbon_is_refused(name):
    with pytest.raises(Refusal, match="sides up to 200 : 1 are accepted"):
        FAMILIES[name].grid(TINY[name].model().config, {}, 4, 5, 2000)
