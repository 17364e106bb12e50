"""The vision tower takes a long clip in parts that fit a budget, and the features are those of the whole."""

import pytest
import torch

from aim.cost import VisionShape
from aim.families import batches as module
from aim.families import family_of
from aim.families.batches import batches
from tests.tiny import llava_onevision

FRAME = 9 * (8 * (2 + 9) + 2 * 16) * 4  # bytes of one frame of `VISION`
VISION = VisionShape(2, 8, 16, patches_per_frame=9, patch_pixels=12)


@pytest.mark.parametrize(("budget", "lengths"), [(0, [1] * 5), (FRAME, [1] * 5), (2 * FRAME, [2, 2, 1]), (5 * FRAME, [5]), (2**30, [5])])
def test_parts_hold_as_many_frames_as_the_budget_has_room_for(budget, lengths):
    frames = torch.arange(5)[:, None]
    parts = list(batches(frames, VISION, 4, budget))
    assert [len(part) for part in parts] == lengths and torch.equal(torch.cat(parts), frames)


@pytest.mark.parametrize("frames", [1, 2, 5])
def test_features_made_in_parts_are_those_of_the_whole_clip(frames, monkeypatch):
    model = llava_onevision()
    pixels = {"pixel_values_videos": torch.randn(1, frames, 3, 40, 40, generator=torch.Generator().manual_seed(0))}
    with torch.no_grad():
        whole = model.model.get_video_features(pixels["pixel_values_videos"], return_dict=True).pooler_output
    passes = []
    hook = model.model.vision_tower.register_forward_pre_hook(lambda _module, args, kwargs: passes.append(1), with_kwargs=True)
    monkeypatch.setattr(module.batches, "__defaults__", (0,))  # one frame a part
    with torch.no_grad():
        encoded = family_of(model.config).encode(model, pixels)
    hook.remove()
    assert len(passes) == frames
    features = encoded.features["video"].pooler_output
    assert features.shape == (1, frames * 25 + 1, 32) and encoded.grid.tokens == frames * 25
    torch.testing.assert_close(features, whole, rtol=1e-4, atol=1e-5)
