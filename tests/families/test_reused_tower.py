"""Reuse of what stands still inside the vision tower, against a tower that computes everything and copies from earlier frames."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import aim
from aim.families import FAMILIES
from aim.families.full_grid import full_grid
from aim.kernels.changed_patches import changed_patches
from aim.kernels.cost import vision_flops
from aim.kernels.grid import Grid
from aim.kernels.merging import merge_tokens
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import merge_steps
from tests.tiny import TINY, fingerprint

REUSE, BOTH = aim.Tower(reuse=0.05), aim.Tower(reuse=0.05, merge=0.4, layer=1)
FRAMES = 5


@pytest.fixture(scope="module", params=["llava_onevision", "llava", "internvl"])
def loaded(request):
    model = TINY[request.param].model()
    return request.param, model, pixels_of(model)


def pixels_of(model):
    """Frames that differ in a part from the one before; the last one is the one before."""
    side = model.config.vision_config.image_size
    side = side if isinstance(side, int) else side[0]
    torch.manual_seed(1)
    pixels = torch.randn(1, 3, side, side).repeat(FRAMES, 1, 1, 1)
    for frame in range(1, FRAMES - 1):
        pixels[frame:, :, : side // 2, side // 4 * (frame - 1) : side // 4 * frame] += 1
    return pixels


def changed_in(name, found, pixels):
    return changed_patches(pixels, found.patch, 0.05, torch.tensor(FAMILIES[name].picture_settings["image_std"]))


def run(name, model, tower, pixels):
    with torch.no_grad(), FAMILIES[name].reducing(model, tower) as lengths:
        return model.model.vision_tower(pixels, output_hidden_states=True).hidden_states, lengths


def latest(computed):
    """For each frame and token the latest frame so far that has computed it."""
    rows = []
    for frame, row in enumerate(computed.tolist()):
        rows.append([frame if new else rows[-1][token] for token, new in enumerate(row)])
    return torch.tensor(rows)


def copied(hidden, frames):
    return hidden[frames, torch.arange(hidden.shape[1])]


def with_copies(model, name, tower, pixels):
    """The last hidden states of a tower that runs on all tokens of all frames, where patches that stand still are copied after each layer.

    Where patches are merged, each holds what its merged patch holds, so that this one is attended to as often as it has patches.
    """
    found, entered = FAMILIES[name].tower_layers(model), []
    others, layers = found.other_tokens, found.layers
    hook = layers[0].register_forward_pre_hook(lambda _layer, args: entered.append(args[0]))
    model.model.vision_tower(pixels)
    hook.remove()
    changed = changed_in(name, found, pixels)
    computed = torch.cat([changed.new_ones(len(changed), others), changed], 1)
    frames, before, start = latest(computed), 0, 0
    hidden = copied(entered[0], frames)
    for index, layer in enumerate(layers):
        if index == tower.layer:
            patches = hidden[:, others:]
            merge = merge_tokens(patches, tower.patches(patches.shape[1]), weighted=True, largest_step=tower.step)
            groups = torch.cat([torch.arange(others).expand(len(hidden), -1), merge.assignment + others], 1)
            rows = [[row[own == group].any() for group in own] for row, own in zip(computed, groups, strict=True)]
            computed = torch.tensor(rows)
            frames, before = latest(computed), hidden
            spread = torch.cat([hidden[:, :others], merge.tokens], 1).gather(1, groups[..., None].expand_as(hidden))
            hidden = start = copied(spread, frames)
        hidden = copied(layer(hidden, *(None,) * (name != "internvl")), frames)
    return before + hidden - start


def test_what_stands_still_keeps_the_states_of_the_frame_that_computed_it(loaded):
    name, model, pixels = loaded
    stock, _ = run(name, model, None, pixels)
    before = fingerprint(model)
    for tower in (REUSE, BOTH):
        found, _ = run(name, model, tower, pixels)
        with torch.no_grad():
            torch.testing.assert_close(found[-1], with_copies(model, name, tower, pixels), atol=1e-5, rtol=1e-4)
        assert found[-1].shape == stock[-1].shape and not torch.equal(found[-1], stock[-1])
    assert fingerprint(model) == before


def test_a_frame_like_the_one_before_has_its_states_and_computes_no_patch(loaded):
    name, model, pixels = loaded
    found, lengths = run(name, model, REUSE, pixels)
    others = FAMILIES[name].tower_layers(model).other_tokens
    assert torch.equal(found[-1][-1, others:], found[-1][-2, others:])
    tokens = found[-1].shape[1]
    changed = changed_in(name, FAMILIES[name].tower_layers(model), pixels).sum(1).tolist()
    assert [frame[0] for frame in lengths] == [(others + count, tokens) for count in changed]
    assert changed[-1] == 0 < changed[1] < changed[0] == tokens - others


def test_everything_computed_gives_the_bits_of_the_full_tower_or_of_merging_alone(loaded):
    name, model, pixels = loaded
    moving = pixels + torch.arange(FRAMES)[:, None, None, None]
    for tower, alone in ((REUSE, None), (BOTH, aim.Tower(merge=0.4, layer=1))):
        assert torch.equal(run(name, model, tower, moving)[0][-1], run(name, model, alone, moving)[0][-1])


@pytest.mark.parametrize("tower", [REUSE, BOTH], ids=["alone", "merged"])
def test_the_flops_counted_are_those_that_run(loaded, tower):
    name, model, pixels = loaded
    vision = FAMILIES[name].vision_shape(model.config, Grid(FRAMES, 5, 5))
    found = FAMILIES[name].tower_layers(model)
    patches = (pixels.shape[-1] // found.patch) ** 2
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        _, lengths = run(name, model, tower, pixels)
    matched, left = 0, patches
    for removed in merge_steps(left, tower.patches(left), largest_step=tower.step):
        matched += FRAMES * 2 * (left - left // 2) * (left // 2) * vision.hidden_size
        left -= removed
    alone = type(vision)(**{**vars(vision), "patches_per_frame": patches, "projector_size": 0})
    assert sum(vision_flops(alone, 1, frame) for frame in lengths) + matched == counter.get_total_flops()
    planned = tower.flops(alone, FRAMES)
    assert tower.flops(alone, FRAMES, lengths) < planned <= vision_flops(alone, FRAMES) + tower.reduction_flops(alone, FRAMES)


@pytest.mark.parametrize("tower", [REUSE, BOTH], ids=["alone", "merged"])
def test_who_watches_an_attention_layer_is_told_of_every_patch_of_every_frame(loaded, tower):
    name, model, pixels = loaded
    attention, made = FAMILIES[name].tower_layers(model).attentions[0], []
    hook = attention.k_proj.register_forward_hook(lambda _module, _args, output: made.append(full_grid(attention, output)))
    run(name, model, tower, pixels)
    run(name, model, None, pixels)
    hook.remove()
    reused, stock = made
    assert torch.allclose(reused[0], stock[0], atol=1e-6) and reused.shape == stock.shape
    others = FAMILIES[name].tower_layers(model).other_tokens
    assert torch.equal(reused[-1, others:], reused[-2, others:])


def test_a_tower_with_eager_attention_is_refused():
    model = TINY["llava"].model()
    model.set_attn_implementation("eager")
    before = fingerprint(model)
    with pytest.raises(Refusal, match='computes its attention by "eager"'), FAMILIES["llava"].reducing(model, REUSE):
        pass
    assert fingerprint(model) == before


@pytest.mark.parametrize("name", ["llava_onevision", "gemma3"])
def test_a_method_runs_behind_it(name):
    model, inputs = TINY[name].model(), TINY[name].video_inputs(3)
    pixels = next(value for key, value in inputs.items() if key.startswith("pixel_values"))
    pixels.copy_(pixels.flatten(0, -4)[:1].expand(pixels.flatten(0, -4).shape).view_as(pixels))
    with torch.no_grad(), aim.reduce(model, aim.PruMerge(), tower=BOTH) as trace:
        logits = model(**inputs).logits
    assert logits.isfinite().all() and trace.visual_tokens == TINY[name].tokens(3)


@pytest.mark.parametrize("threshold", [-0.1, 1.5, "still"])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(Refusal, match=r"reuse is .*; accepted: a number from 0 to 1. Use 8/255"):
        aim.Tower(reuse=threshold)


def test_merging_is_left_out_where_only_reuse_is_asked_for():
    assert (aim.Tower().merge, aim.Tower(reuse=0).merge, aim.Tower(reuse=0, merge=0.5).merge) == (0.3, 1, 0.5)
