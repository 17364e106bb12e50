"""LLaVA-OneVision's images in tiles: how many tokens they are, and where each lies, against the model's own packing."""

import re

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoConfig, LlavaConfig
from transformers.models.llava_onevision.modeling_llava_onevision import image_size_to_num_patches

import aim
from aim.families import FAMILIES, REFUSED, family_of, find_published
from aim.kernels.refusal import Refusal
from tests.tiny import IMAGE, TINY

SIZES = [(30, 50), (40, 40), (80, 80), (37, 200), (200, 37), (61, 119), (120, 120), (300, 290), (5, 90)]


def marked(tiles):
    """Features [tiles, 100, 3] that say which tile, row and column they are of; the whole image is tile 0."""
    row, column = torch.meshgrid(torch.arange(10.0), torch.arange(10.0), indexing="ij")
    place = torch.stack([row.flatten(), column.flatten()], -1)
    return torch.cat([torch.arange(tiles).float()[:, None, None].expand(-1, 100, 1), place.expand(tiles, -1, -1)], -1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ratio", ["anyres_max_9", "anyres_max_2"])
def test_a_tiled_image_lies_as_the_model_packs_it(size, ratio):
    model = TINY["llava_onevision"].model()
    model.config.vision_aspect_ratio = ratio
    tiles = image_size_to_num_patches(list(size), model.config.image_grid_pinpoints, 40)
    newline = torch.full((3,), -1.0)
    (packed,), (length,) = model.model.pack_image_features([marked(tiles)], torch.tensor([size]), newline, ratio)
    read = FAMILIES["llava_onevision"].images(model.config, {"image_sizes": torch.tensor([size])})
    picture = read(int(length))
    assert picture.length == len(packed) == length
    whole, tiled = picture.places
    assert torch.equal(packed[whole], marked(tiles)[0])
    named = torch.cat(picture.places)
    separators = torch.ones(len(packed), dtype=torch.bool).index_fill(0, named, False)
    assert bool((packed[separators] == -1).all()) and not bool((packed[named] == -1).all(-1).any())
    assert (separators.sum(), len(named)) == (picture.grids[1].rows, sum(grid.tokens for grid in picture.grids))
    plane = packed[tiled].view(picture.grids[1].rows, picture.grids[1].columns, 3)
    # Rows go down and columns go right through the tiles; where the copy was reduced, by more than a place each.
    rows, columns = plane[..., 1], plane[..., 2]
    if bool((plane.frac() == 0).all()):
        assert bool((rows.diff(dim=0).remainder(10) == 1).all()) and bool((columns.diff(dim=1).remainder(10) == 1).all())
        assert bool((rows.diff(dim=1) == 0).all()) and bool((columns.diff(dim=0) == 0).all())


@pytest.mark.parametrize("size", SIZES)
def test_the_features_alone_tell_the_same_picture(size):
    model = TINY["llava_onevision"].model()
    entry = FAMILIES["llava_onevision"]
    by_size = entry.images(model.config, {"image_sizes": torch.tensor([size])})(0)
    tiles = image_size_to_num_patches(list(size), model.config.image_grid_pinpoints, 40)
    with torch.no_grad():
        features = model.model.get_image_features(torch.randn(1, tiles, 3, 40, 40), torch.tensor([size]))
    by_features = entry.images(model.config, {"mm_encoder_outputs": {"image": features}})(0)
    assert by_features.grids == by_size.grids and by_features.length == by_size.length
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(by_features.places, by_size.places, strict=True))


def tiled_prompt(model, size):
    """The inputs of a prompt with one image of that size, shown in tiles, and how the image lies in it."""
    picture = FAMILIES["llava_onevision"].images(model.config, {"image_sizes": torch.tensor([size])})(0)
    tiles = image_size_to_num_patches(list(size), model.config.image_grid_pinpoints, 40)
    ids = torch.tensor([[5, 6, *[IMAGE] * picture.length, 7, 8, 9]])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": torch.randn(1, tiles, 3, 40, 40)}
    return inputs | {"image_sizes": torch.tensor([size]), "batch_num_images": torch.tensor([1])}, picture


@pytest.mark.parametrize("size", [(30, 50), (120, 120), (37, 200)])
def test_a_tiled_image_is_reduced_grid_by_grid_and_identity_holds(size):
    model = TINY["llava_onevision"].model()
    inputs, picture = tiled_prompt(model, size)
    stock = model.generate(**inputs, max_new_tokens=30, do_sample=False)
    with aim.reduce(model, aim.Full()):
        assert torch.equal(model.generate(**inputs, max_new_tokens=30, do_sample=False), stock)
    with aim.reduce(model, aim.AIM(merge_ratio=0.5, l1=2, l2=5)) as trace, torch.no_grad():
        model.generate(**inputs, max_new_tokens=3, do_sample=False)
        first = (trace.grids, trace.tokens_per_layer)
        model(**inputs)
    assert trace.grids == [(grid.frames, grid.rows, grid.columns) for grid in picture.grids]
    assert first == (trace.grids, trace.tokens_per_layer)
    assert trace.merged_tokens == sum(grid.tokens // 2 for grid in picture.grids)


@pytest.mark.parametrize("size", [(30, 50), (40, 40), (80, 80), (120, 120)])  # tiles that are cut at their edges, and tiles that are not
@pytest.mark.parametrize("run", [lambda model, inputs: model.generate(**inputs, max_new_tokens=2), lambda model, inputs: model(**inputs)])
def test_a_method_that_asks_the_tower_refuses_an_image_in_tiles(size, run):
    model = TINY["llava_onevision"].model()
    inputs, _ = tiled_prompt(model, size)
    with pytest.raises(Refusal, match="Give clips, or images without tiles"), aim.reduce(model, aim.PruMerge(0.5)):
        run(model, inputs)


@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_a_family_that_cannot_work_is_refused_with_the_reason(kind):
    if kind not in CONFIG_MAPPING:
        pytest.skip("This release of transformers does not have the family yet.")
    with pytest.raises(Refusal, match=f"of type {kind!r}.*{REFUSED[kind][:20]}") as error:
        family_of(AutoConfig.for_model(kind))
    assert "\n" not in str(error.value)
    named = re.findall(r"[\w.-]+/[\w.-]*\w", str(error.value).split(REFUSED[kind])[1])
    assert len(named) == 2 and all(find_published(hub_id) for hub_id in named)


def test_a_llava_with_pixtrals_tower_is_refused_and_one_with_siglips_is_taken():
    assert family_of(LlavaConfig(vision_config={"model_type": "siglip_vision_model"})) is FAMILIES["llava"]
    with pytest.raises(Refusal, match="LLaVA-1.5 that is not supported. Its tower is Pixtral's"):
        family_of(LlavaConfig(vision_config={"model_type": "pixtral"}))


# (frames, height, width).
ODD_SIZES = [(1, 1, 1), (4, 2, 2), (2, 1, 150), (1, 1, 201), (3, 8, 4000), (1, 5000, 3), (1, 20000, 20000), (30000, 360, 640)]


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_size_or_number_of_frames_is_taken_or_refused_with_what_is_accepted(kind):
    family = FAMILIES[kind]
    config = family.published[0].config()
    for one in (family, family.for_images and family.taking(is_image=True)):
        for size in ODD_SIZES if one is family else [size for size in ODD_SIZES if one and size[0] == 1]:
            try:
                grid = one.grid(config, one.picture_settings, *size)
            except Refusal as error:
                assert re.search(r"The frames are \d+ x \d+ pixels; sides up to 200 : 1 are accepted. Crop the clip.$", str(error))
                assert max(size[1:]) > 200 * min(size[1:])
            else:
                assert min(grid.frames, grid.rows, grid.columns) >= 1 and grid.frames in (size[0], -(-size[0] // 2))


def test_missing_sizes_are_named():
    model, inputs = TINY["qwen2_vl"].model(), TINY["qwen2_vl"].video_inputs()
    inputs["video_grid_thw"] = inputs["video_grid_thw"][:0]
    read = FAMILIES["qwen2_vl"].videos(model.config, inputs)
    with pytest.raises(Refusal, match="more videos than `video_grid_thw` has rows"):
        read(70)
