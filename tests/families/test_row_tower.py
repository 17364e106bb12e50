"""Merging inside towers that take pictures of any size as one row, against each frame or window merged by itself."""

import pytest
import torch

import aim
from aim.families import FAMILIES
from aim.kernels.merging import merge_tokens
from aim.kernels.refusal import Refusal
from tests.tiny import TINY, pictures_of

TOWER = aim.Tower(merge=0.4, step=0.25, layer=1)
SIZES = torch.tensor([[2, 4, 10], [1, 6, 4]])  # a clip of two steps and a picture of another size


@pytest.fixture(scope="module", params=["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def loaded(request):
    model = TINY[request.param].model()
    width = pictures_of(TINY[request.param].video_inputs(2))["pixel_values_videos"].shape[1]
    torch.manual_seed(2)
    return request.param, model, torch.randn(int(SIZES.prod(1).sum()), width)


def run(name, model, pixels, tower=None):
    with torch.no_grad(), FAMILIES[name].reducing(model, tower):
        return model.model.visual(pixels, grid_thw=SIZES, return_dict=True)


def by_hand(name, model, pixels):
    """The row behind each layer from `TOWER.layer` on, all patches of it."""
    seen, blocks = [], model.model.visual.blocks
    hooks = [block.register_forward_pre_hook(lambda _m, args, kwargs: seen.append((args[0], kwargs)), with_kwargs=True) for block in blocks]
    run(name, model, pixels)
    for hook in hooks:
        hook.remove()
    bounds = [kwargs["cu_seqlens"].tolist() for _, kwargs in seen]
    parts = max(bounds, key=len)
    assert len(parts) > 4 if name == "qwen2_5_vl" else parts == [0, 40, 80, 104]
    before = seen[TOWER.layer][0]
    starts, tokens, assignment, anchors = {0: 0}, [], [], []
    for first, end in zip(parts, parts[1:], strict=False):
        merge = merge_tokens(before[None, first:end], max(1, int(0.4 * (end - first))), weighted=True, largest_step=0.25)
        assignment += [starts[first] + place for place in merge.assignment[0].tolist()]
        anchors += [first + place for place in merge.anchors[0].tolist()]
        tokens.append(merge.tokens[0])
        starts[end] = len(anchors)
    now = merged = torch.cat(tokens)
    rows = []
    for block, (_, kwargs), own in list(zip(blocks, seen, bounds, strict=True))[TOWER.layer :]:
        angles = tuple(part[anchors] for part in kwargs["position_embeddings"])
        now = block(now, cu_seqlens=torch.tensor([starts[bound] for bound in own]), position_embeddings=angles)
        rows.append(before + (now - merged)[assignment])
    return rows


def test_each_frame_or_window_is_merged_by_itself_and_keeps_its_place(loaded):
    name, model, pixels = loaded
    with torch.no_grad():
        *_, expected = rows = by_hand(name, model, pixels)
        found = run(name, model, pixels, TOWER)
        torch.testing.assert_close(found.last_hidden_state, expected, atol=1e-5, rtol=1e-4)
        assert not torch.allclose(found.last_hidden_state, run(name, model, pixels).last_hidden_state, atol=1e-3)
        if name == "qwen3_vl":
            visual, shown = model.model.visual, model.config.vision_config.deepstack_visual_indexes
            later = [level for level, layer in enumerate(shown) if layer >= TOWER.layer]
            assert later
            for level in later:
                features = visual.deepstack_merger_list[level](rows[shown[level] - TOWER.layer])
                torch.testing.assert_close(found.deepstack_features[level], features, atol=1e-5, rtol=1e-4)


def test_who_watches_is_told_of_every_patch_of_the_grid(loaded):
    name, model, _ = loaded
    told = {}
    inputs = TINY[name].video_inputs(3)
    for tower in (None, aim.Tower(merge=1), TOWER):
        seen = told[tower] = []
        hooks = FAMILIES[name].watch_tower(model, seen.append)
        with torch.no_grad(), FAMILIES[name].reducing(model, tower):
            model(**inputs)
        for hook in hooks:
            hook.remove()
    [stock], [off], [merged] = told.values()
    assert torch.equal(stock.received, off.received) and torch.equal(stock.keys, off.keys)
    assert merged.received.shape == stock.received.shape and merged.keys.shape == stock.keys.shape
    torch.testing.assert_close(merged.received.sum(-1), stock.received.sum(-1))
    assert not torch.equal(merged.received, stock.received)


def test_reuse_is_refused(loaded):
    name, model, _ = loaded
    with pytest.raises(Refusal, match="reuses nothing from frame to frame; accepted: merge alone"):
        FAMILIES[name].reducing(model, aim.Tower(reuse=0.03))
