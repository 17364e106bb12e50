"""Merging inside the vision tower, against a plain loop over its patches, and with everything that follows a tower."""

from functools import partial

import pytest
import torch
from torch.nn.functional import cosine_similarity
from torch.utils.flop_counter import FlopCounterMode

import aim
from aim.families import FAMILIES
from aim.families.full_grid import full_grid
from aim.kernels.cost import vision_flops
from aim.kernels.grid import Grid
from aim.kernels.refusal import Refusal
from aim.kernels.schedule import merge_steps
from tests.tiny import TINY, fingerprint, pictures_of, tokens_of

REDUCED = [name for name, family in FAMILIES.items() if family.tower_layers is not None]
TOWER = aim.Tower(merge=0.3, step=0.25, layer=1)
FRAMES = 2


# By default the families that were first with a tower of each kind.
LATER = {"exaone4_5", "qwen2_5_omni_thinker", "qwen3_omni_moe_thinker"}


@pytest.fixture(scope="module", params=[pytest.param(name, marks=pytest.mark.whole if name in LATER else ()) for name in REDUCED])
def loaded(request):
    return request.param, TINY[request.param].model()


def features(name, model, tower=None):
    """The projected tokens of a clip, as one tensor."""
    pixels = pictures_of(TINY[name].video_inputs(FRAMES))
    kind = "video" if "pixel_values_videos" in pixels else "image"
    with torch.no_grad(), FAMILIES[name].reducing(model, tower):
        found = tokens_of(getattr(model.model, f"get_{kind}_features")(*pixels.values(), return_dict=True))
    return found if isinstance(found, torch.Tensor) else torch.stack(list(found))


def test_nothing_merged_gives_the_same_bits_and_what_is_merged_the_same_shape(loaded):
    name, model = loaded
    stock = features(name, model)
    before = fingerprint(model)
    assert torch.equal(features(name, model, aim.Tower(merge=1, layer=1)), stock)
    if FAMILIES[name].tower_reuse:
        assert torch.equal(features(name, model, aim.Tower(reuse=0)), stock)  # every patch of the clip has changed
    reduced = features(name, model, TOWER)
    assert reduced.shape == stock.shape and reduced.isfinite().all() and not torch.equal(reduced, stock)
    assert fingerprint(model) == before
    assert torch.equal(features(name, model), stock)


def merged_by_hand(rows, target, step):
    """Groups of patches, each with its mean, after steps that each remove at most a share `step` of them."""
    groups = [([index], row) for index, row in enumerate(rows)]
    while len(groups) > target:
        a, b = groups[0::2], groups[1::2]
        best = []
        for one, (_, row) in enumerate(a):
            cosines = [float(cosine_similarity(row, other, dim=0)) for _, other in b]
            partner = max(range(len(b)), key=cosines.__getitem__)
            best.append((-cosines[partner], one, partner))
        linked = {one: partner for _, one, partner in sorted(best)[: min(len(groups) - target, int(len(groups) * step))]}
        joined = []
        for place, group in enumerate(groups):
            if place % 2 == 0 and place // 2 not in linked:
                joined.append(group)
            elif place % 2 == 1:
                parts = [group, *(a[one] for one, partner in linked.items() if partner == place // 2)]
                members = [index for own, _ in parts for index in own]
                joined.append((members, sum(len(own) * row for own, row in parts) / len(members)))
        groups = joined
    return groups


@pytest.mark.parametrize(("name", "others"), [("llava_onevision", 0), ("llava", 1)])
def test_the_output_is_each_patchs_own_state_and_what_its_group_has_gained(name, others):
    model, pixels = TINY[name].model(), torch.randn(1, 3, *(TINY[name].model().config.vision_config.image_size,) * 2)
    tower = model.model.vision_tower
    first, *rest = tower.encoder.layers
    with torch.no_grad():
        states = tower(pixels, output_hidden_states=True).hidden_states[1][0]
        groups = merged_by_hand(states[others:], int(0.3 * (len(states) - others)), 0.25)
        merged = torch.stack([*states[:others], *(mean for _, mean in groups)])
        expected, now = [], merged[None]
        times = torch.tensor([1] * others + [len(members) for members, _ in groups])
        for layer in rest:
            now = layer(now, times.log()[None, None, None].expand(1, 1, len(times), -1))  # as often as it has patches
            whole = states.clone()
            whole[:others] = now[0, :others]
            for number, (members, _) in enumerate(groups):
                for patch in members:
                    whole[others + patch] += now[0, others + number] - merged[others + number]
            expected.append(whole)
        with FAMILIES[name].reducing(model, TOWER):
            found = tower(pixels, output_hidden_states=True)
    shown = FAMILIES[name].tower_layers(model).shown
    for layer in shown:
        torch.testing.assert_close(found.hidden_states[layer + 1][0], expected[layer - 1], atol=1e-5, rtol=1e-4)
    assert found.hidden_states[-1].shape[1] == len(states)


def test_methods_that_ask_the_tower_are_told_of_every_patch():
    model, seen, made = TINY["llava_onevision"].model(), [], {}
    family, attention = FAMILIES["llava_onevision"], model.model.vision_tower.encoder.layers[1].self_attn
    hooks = [
        projection.register_forward_hook(lambda _module, _args, output, name=name: made.update({name: output[0]}))
        for name, projection in (("query", attention.q_proj), ("key", attention.k_proj))
    ]
    hooks += family.watch_tower(model, seen.append)
    inputs = TINY["llava_onevision"].image_inputs(images=2)
    with torch.no_grad(), family.reducing(model, TOWER):
        model(**inputs)
    for hook in hooks:
        hook.remove()
    patches, heads = 100, attention.num_heads
    assert made["key"].shape[0] == 30
    keys = seen[0].keys[0]
    group = torch.tensor([int((made["key"] == key).all(-1).nonzero()[0, 0]) for key in keys])
    sizes = group.bincount(minlength=30).float()
    assert (sizes > 0).all()
    expected = torch.zeros(30)
    for query, key in zip(made["query"].view(30, heads, -1).unbind(1), made["key"].view(30, heads, -1).unbind(1), strict=True):
        weights = (query @ key.T * attention.scale).exp()
        weights = weights / (weights * sizes).sum(-1, keepdim=True)  # each merged key counts as often as it has patches
        expected += (sizes[:, None] * weights).sum(0) / patches / heads
    torch.testing.assert_close(seen[0].received[0], expected[group], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name == "llava" else pytest.mark.whole) for name in REDUCED])
@pytest.mark.parametrize("method", [aim.AIM(merge_ratio=0.5, l1=2, l2=4), aim.PruMerge(), aim.VisionZip()], ids=lambda method: method.name)
def test_a_reduced_model_may_reduce_its_tower_too(name, method):
    model, inputs = TINY[name].model(), TINY[name].video_inputs(3)
    with torch.no_grad(), aim.reduce(model, method, tower=TOWER) as trace:
        logits = model(**inputs).logits
    assert logits.isfinite().all() and trace.visual_tokens == TINY[name].tokens(3)
    with torch.no_grad(), aim.reduce(model, method, tower=aim.Tower(merge=1)):
        as_without = model(**inputs).logits
    with torch.no_grad(), aim.reduce(model, method):
        assert torch.equal(model(**inputs).logits, as_without)


def test_the_towers_flops_are_those_that_run(loaded):
    name, model = loaded
    model.set_attn_implementation("eager")
    [size, *_] = TINY[name].video_inputs(FRAMES).get("video_grid_thw", torch.tensor([[FRAMES, 10, 10]])).tolist()
    vision = FAMILIES[name].vision_shape(model.config, Grid(size[0], size[1] // 2, size[2] // 2))
    with FlopCounterMode(display=False) as counter:
        features(name, model, TOWER)
    model.set_attn_implementation("sdpa")
    matched = 0
    for left in vision.parts:
        for removed in merge_steps(left, TOWER.patches(left), largest_step=TOWER.step):
            matched += size[0] * 2 * (left - left // 2) * (left // 2) * vision.hidden_size
            left -= removed
    assert vision_flops(vision, size[0], TOWER.lengths(vision)) + matched == counter.get_total_flops()
    assert TOWER.reduction_flops(vision, size[0]) > matched
    with pytest.raises(ValueError, match="1 pairs; the tower has"):
        vision_flops(vision, FRAMES, [(1, 1)])


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in REDUCED])
def test_another_familys_tower_is_refused(name):
    with pytest.raises(Refusal, match="cannot be reduced; accepted: the towers of LLaVA's models, Qwen's, InternVL and Gemma 3"):
        FAMILIES[name].fit_tower(aim.Tower(), 12)
    assert FAMILIES[name].fit_tower(None, 12) is None


def test_a_model_whose_tower_cannot_be_reduced_is_left_as_it_was():
    model = TINY["smolvlm"].model()
    before = fingerprint(model)
    with pytest.raises(Refusal, match="SmolVLM"), aim.reduce(model, aim.Full(), tower=aim.Tower()):
        pass
    assert fingerprint(model) == before


def test_one_block_at_a_time_reduces_a_tower():
    model, family = TINY["llava"].model(), FAMILIES["llava"]
    attention, values = model.model.vision_tower.encoder.layers[0].self_attn, torch.zeros(1, 3, 2)
    with family.reducing(model, TOWER), pytest.raises(Refusal, match="being reduced already"), family.reducing(model, TOWER):
        pass
    assert full_grid(attention, values) is values
    with family.reducing(model, TOWER):
        pass


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(aim.Tower, merge=0), "merge is 0; accepted: a number above 0 and up to 1. Use 0.3"),
        (partial(aim.Tower, merge="half"), "merge is 'half'; accepted"),
        (partial(aim.Tower, step=0.6), "step is 0.6; accepted: a number above 0 and up to 0.5"),
        (partial(aim.Tower, layer=0), "layer is 0; accepted: a whole number of at least 1"),
        (partial(aim.Tower(layer=26).for_depth, 26), "layer of the tower is 26; accepted: a whole number from 1 to 25"),
        (partial(FAMILIES["llava"].fit_tower, 0.3, 24), r"tower is 0.3; accepted: .*aim.Tower\(merge=0.3\)"),
    ],
)
def test_a_setting_out_of_range_is_refused(make, message):
    with pytest.raises(Refusal, match=message):
        make()


def test_the_layer_is_scaled_to_the_towers_depth():
    assert [aim.Tower().for_depth(depth).layer for depth in (1, 2, 4, 24, 26, 27)] == [1, 1, 1, 6, 6, 6]
    assert aim.Tower(layer=3).for_depth(4).layer == 3
