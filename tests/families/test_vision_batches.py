"""The vision tower takes a long clip in parts that fit a budget, and the features are those of the whole."""

import pytest
import torch

from aim.families import FAMILIES
from aim.families import batches as module
from aim.families.batches import batches
from aim.kernels.cost import VisionShape
from tests.tiny import EACH, TINY, pictures_of, tokens_of

VISION = VisionShape(6, 8, 16, patches_per_frame=9, patch_pixels=12)


@pytest.mark.parametrize(("selects", "kept"), [(True, 2), (False, 7)])
@pytest.mark.parametrize(("room", "lengths"), [(0, [1] * 5), (1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (2**20, [5])])
def test_parts_hold_as_many_frames_as_the_budget_has_room_for(monkeypatch, room, lengths, selects, kept):
    monkeypatch.setattr(module, "SELECTS", selects)
    frames, frame = torch.arange(5)[:, None], 9 * (8 * (kept + 8) + 2 * 16) * 4  # bytes of one frame of `VISION`
    parts = list(batches(frames, VISION, 4, room * frame))
    assert [len(part) for part in parts] == lengths and torch.equal(torch.cat(parts), frames)


def features_of(family, model, pixels):
    """(features [tokens, hidden], the encoded clip), whatever shape the family gives them."""
    encoded = family.encode(model, pixels)
    [made] = encoded.features.values()
    features = tokens_of(made)
    return torch.cat([part.flatten(end_dim=-2) for part in features]), made.attentions[0], encoded


@pytest.mark.parametrize("frames", [1, 2, 5])
@pytest.mark.parametrize("name", EACH)
def test_features_made_in_parts_are_those_of_the_whole_clip(name, frames, monkeypatch):
    model, family = TINY[name].model(), FAMILIES[name]
    pixels = pictures_of(TINY[name].video_inputs(frames))
    stock = "video" if family.videos or any("video" in name for name in pixels) else "image"
    passes = []
    tower = next(getattr(model.model, name) for name in ("visual", "vision_tower", "vision_model") if hasattr(model.model, name))
    with torch.no_grad():
        whole = tokens_of(getattr(model.model, f"get_{stock}_features", model.model.get_image_features)(*pixels.values(), return_dict=True))
        _, attention, _ = features_of(family, model, pixels)
        hook = tower.register_forward_pre_hook(lambda _module, _args, kwargs: passes.append(1), with_kwargs=True)
        monkeypatch.setattr(module.batches, "__defaults__", (0,))  # one frame a part
        features, attention_in_parts, encoded = features_of(family, model, pixels)
    hook.remove()
    steps = -(-frames // TINY[name].step)
    assert len(passes) == steps and encoded.grid.tokens == TINY[name].tokens(frames)
    torch.testing.assert_close(features, torch.cat([part.flatten(end_dim=-2) for part in whole]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(attention_in_parts.received, attention.received, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(attention_in_parts.keys, attention.keys, rtol=1e-4, atol=1e-5)
