"""What a vision tower attends to, against the attention maps of an eager tower, pooled with loops."""

import importlib
from functools import partial

import pytest
import torch

import aim
from aim.engine.features import feature_inputs
from aim.families import FAMILIES
from aim.families.towers import received
from aim.kernels.contextual_merging import merge_contextual
from aim.kernels.refusal import Refusal
from aim.methods import METHODS
from tests.tiny import ANY_SIZE, EACH, IMAGE, TINY, fingerprint, pictures_of, qwen2_5_vl

FRAMES = 3


def watched(model, run):
    seen = []
    hooks = FAMILIES[model.config.model_type].watch_tower(model, seen.append)
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def blocks_summed(column, rows, columns):
    """Sums over 2 x 2 blocks of a frame's patches in raster order."""
    plane, out = column.view(rows, columns), []
    for row in range(0, rows, 2):
        for left in range(0, columns, 2):
            out.append(sum(plane[row + i, left + j] for i in range(2) for j in range(2)))
    return torch.stack(out)


def eager_columns(tower, pixels, layer):
    """Mean over heads and queries, float32 [F, n]."""
    tower.set_attn_implementation("eager")
    with torch.no_grad():
        attentions = tower(pixels, output_attentions=True).attentions
    tower.set_attn_implementation("sdpa")
    return attentions[layer].float().mean((1, 2))


def eager_cls_row(tower, pixels):
    """What CLS pays the patches in the tower's last layer, the mean over heads, float32 [F, P]."""
    tower.set_attn_implementation("eager")
    with torch.no_grad():
        last = tower(pixels, output_attentions=True).attentions[-1]
    tower.set_attn_implementation("sdpa")
    return last.float().mean(1)[:, 0, 1:]


def test_llava_sees_what_cls_pays_the_patches_in_the_last_layer_and_the_keys_that_k_proj_makes_there():
    model, inputs = TINY["llava"].model(), TINY["llava"].video_inputs(FRAMES)
    assert model.config.vision_feature_layer == -2  # the features come from the layer before
    made = []
    hook = model.model.vision_tower.encoder.layers[-1].self_attn.k_proj.register_forward_hook(lambda m, a, output: made.append(output))
    (seen,) = watched(model, lambda: model.model.get_image_features(inputs["pixel_values"]))
    hook.remove()
    torch.testing.assert_close(seen.received, eager_cls_row(model.model.vision_tower, inputs["pixel_values"]), rtol=1e-4, atol=1e-7)
    assert (seen.received.sum(1) < 1).all()
    assert torch.equal(seen.keys, made[0][:, 1:]) and seen.keys.shape == (FRAMES, 25, 32)


def test_llava_next_video_sums_what_cls_pays_the_patches_that_are_pooled():
    model, inputs = TINY["llava_next_video"].model(), TINY["llava_next_video"].video_inputs(FRAMES)
    pixels = inputs["pixel_values_videos"]
    (seen,) = watched(model, lambda: model(**inputs))
    rows = eager_cls_row(model.model.vision_tower, pixels[0])
    expected = torch.stack([blocks_summed(row, 10, 10) for row in rows])
    torch.testing.assert_close(seen.received, expected, rtol=1e-4, atol=1e-7)
    [made] = FAMILIES["llava_next_video"].encode(model, {"pixel_values_videos": pixels}).features["video"].attentions
    assert torch.equal(made.received, seen.received) and torch.equal(made.keys, seen.keys)


def test_internvl_sums_what_cls_pays_two_by_two_patches():
    model, inputs = TINY["internvl"].model(), TINY["internvl"].video_inputs(FRAMES)
    (seen,) = watched(model, lambda: model.model.get_image_features(inputs["pixel_values"]))
    rows = eager_cls_row(model.model.vision_tower, inputs["pixel_values"])
    expected = torch.stack([blocks_summed(row, 10, 10) for row in rows])
    torch.testing.assert_close(seen.received, expected, rtol=1e-4, atol=1e-7)


def test_gemma3_sums_what_two_by_two_patches_receive():
    model, inputs = TINY["gemma3"].model(), TINY["gemma3"].video_inputs(FRAMES)
    (seen,) = watched(model, lambda: model.model.get_image_features(inputs["pixel_values"]))
    columns = eager_columns(model.model.vision_tower, inputs["pixel_values"], layer=1)
    expected = torch.stack([blocks_summed(column, 10, 10) for column in columns])
    torch.testing.assert_close(seen.received, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", ["video", "image"])
def test_gemma4_sums_what_two_by_two_patches_receive_and_padding_neither_asks_nor_receives(kind):
    model, tiny = TINY["gemma4"].model(), TINY["gemma4"]
    inputs = tiny.video_inputs(FRAMES) if kind == "video" else tiny.image_inputs()
    name, rows = {"video": ("pixel_values_videos", 10), "image": ("pixel_values", 8)}[kind]
    pixels, places = inputs[name].flatten(0, -3), inputs[f"{kind}_position_ids"].flatten(0, -3)
    (seen,) = watched(model, lambda: model.model.vision_tower(pixels, places))
    real = 10 * rows
    model.model.vision_tower.set_attn_implementation("eager")
    with torch.no_grad():
        attention = model.model.vision_tower(pixels, places, output_attentions=True).attentions[-1]
    columns = attention.float()[:, :, :real, :real].mean((1, 2))
    expected = torch.stack([blocks_summed(column, rows, 10) for column in columns])
    torch.testing.assert_close(seen.received, expected, rtol=1e-4, atol=1e-7)
    assert seen.keys.shape == (3, real // 4, 32) and seen.heads == 4


def test_smolvlm_sums_what_two_by_two_patches_receive():
    model, inputs = TINY["smolvlm"].model(), TINY["smolvlm"].video_inputs(FRAMES)
    (seen,) = watched(model, lambda: model.model.get_image_features(inputs["pixel_values"]))
    columns = eager_columns(model.model.vision_model, inputs["pixel_values"][0], layer=1)
    expected = torch.stack([blocks_summed(column, 10, 10) for column in columns])
    torch.testing.assert_close(seen.received, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("by", ["features", "forward", "generate"])
def test_llava_onevision_pools_frames_as_it_pools_their_features(by):
    model, inputs = TINY["llava_onevision"].model(), TINY["llava_onevision"].video_inputs(FRAMES)
    pixels = inputs["pixel_values_videos"]
    runs = {
        "features": lambda: FAMILIES["llava_onevision"].encode(model, {"pixel_values_videos": pixels}),
        "forward": lambda: model(**inputs),
        "generate": lambda: model.generate(**inputs, max_new_tokens=2),
    }
    (seen,) = watched(model, runs[by]) if by != "features" else runs[by]().features["video"].attentions
    columns = eager_columns(model.model.vision_tower, pixels[0], layer=1)
    expected = model.model.apply_pooling(columns[..., None])[..., 0] * 100 / 25
    torch.testing.assert_close(seen.received, expected, rtol=1e-4, atol=1e-7)
    assert (seen.received.sum(1) - 1).abs().max() < 0.1


@pytest.mark.parametrize("by", ["forward", "generate"])
def test_llava_onevision_does_not_pool_images(by):
    model, inputs = TINY["llava_onevision"].model(), TINY["llava_onevision"].image_inputs()
    runs = {"forward": lambda: model(**inputs), "generate": lambda: model.generate(**inputs, max_new_tokens=2)}
    (seen,) = watched(model, runs[by])
    expected = eager_columns(model.model.vision_tower, inputs["pixel_values"][:, 0], layer=1)
    torch.testing.assert_close(seen.received, expected, rtol=1e-4, atol=1e-7)


def eager_chunks(model, kind, monkeypatch, run):
    """The attention maps of every piece of sequence the tower attends within, in the order it does so."""
    source, maps = importlib.import_module(f"transformers.models.{kind}.modeling_{kind}"), []
    original = source.eager_attention_forward

    def recording(*args, **kwargs):
        output, weights = original(*args, **kwargs)
        maps.append(weights[0])
        return output, weights

    with monkeypatch.context() as patch:
        patch.setattr(source, "eager_attention_forward", recording)
        model.model.visual.set_attn_implementation("eager")
        with torch.no_grad():
            run()
        model.model.visual.set_attn_implementation("sdpa")
    return maps


def test_qwen2_vl_sums_what_the_patches_of_a_token_receive(monkeypatch):
    model, inputs = TINY["qwen2_vl"].model(), TINY["qwen2_vl"].video_inputs(6)

    def run():
        return model.model.get_video_features(inputs["pixel_values_videos"], inputs["video_grid_thw"])

    (seen,) = watched(model, run)
    maps = eager_chunks(model, "qwen2_vl", monkeypatch, run)[-3:]  # the last layer's, a step each
    expected = torch.stack([chunk.mean((0, 1)).view(35, 4).sum(1) for chunk in maps])
    torch.testing.assert_close(seen.received, expected, rtol=1e-4, atol=1e-7)
    assert seen.keys.shape == (3, 35, 32)


def test_qwen3_vl_sums_what_the_patches_of_a_token_receive_in_the_last_layer_alone(monkeypatch):
    model, inputs = TINY["qwen3_vl"].model(), TINY["qwen3_vl"].video_inputs(6)

    def run():
        return model.model.get_video_features(inputs["pixel_values_videos"], inputs["video_grid_thw"])

    (seen,) = watched(model, run)
    maps = eager_chunks(model, "qwen3_vl", monkeypatch, run)
    assert len(maps) == 4 * 3  # layers, steps
    expected = torch.stack([chunk.mean((0, 1)).view(35, 4).sum(1) for chunk in maps[-3:]])
    torch.testing.assert_close(seen.received, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("make", "pieces"),
    [
        pytest.param(partial(qwen2_5_vl, full=(1, 3)), 3, id="qwen2_5_vl"),
        pytest.param(partial(qwen2_5_vl, full=(1,)), 3 * 12, id="windows last"),
        *(pytest.param(TINY[name].model, 3, id=name) for name in ("exaone4_5", "qwen2_5_omni_thinker") if name in TINY),
    ],
)
def test_qwen2_5_vl_undoes_the_order_of_its_windows_and_exaone_spreads_its_keys_over_the_queries(make, pieces, monkeypatch):
    model, inputs = make(), TINY["qwen2_5_vl"].video_inputs(6)

    def run():
        return model.model.get_video_features(inputs["pixel_values_videos"], inputs["video_grid_thw"])

    (seen,) = watched(model, run)
    maps = eager_chunks(model, model.config.model_type.removesuffix("_thinker"), monkeypatch, run)[-pieces:]
    sums = torch.cat([chunk.mean(0).sum(0) for chunk in maps]).view(-1, 4).sum(1) / 140
    expected = torch.empty(3, 5, 7)
    source = iter(sums)
    for step in range(3):
        for top in range(0, 5, 2):
            for left in range(0, 7, 2):
                for row in range(top, min(top + 2, 5)):
                    for column in range(left, min(left + 2, 7)):
                        expected[step, row, column] = next(source)
    torch.testing.assert_close(seen.received, expected.flatten(1), rtol=1e-4, atol=1e-7)


def test_keys_are_the_mean_of_their_patches_before_the_rotary_embedding():
    model, inputs = TINY["qwen2_vl"].model(), TINY["qwen2_vl"].video_inputs(2)
    outputs = []
    hook = model.model.visual.blocks[-1].attn.qkv.register_forward_hook(lambda m, a, output: outputs.append(output))
    (seen,) = watched(model, lambda: model.model.get_video_features(inputs["pixel_values_videos"], inputs["video_grid_thw"]))
    hook.remove()
    torch.testing.assert_close(seen.keys[0], outputs[0][:, 32:64].view(35, 4, 32).mean(1))


def test_a_map_made_piece_by_piece_equals_the_whole(monkeypatch):
    query, key = torch.randn(2, 3, 2, 9, 4).unbind(0)
    whole = torch.softmax(query @ key.transpose(-1, -2) * 0.5, -1).mean((1, 2))
    for budget in (1, 4 * 81 * 4, 2**20):
        monkeypatch.setattr("aim.families.towers.MAP_BYTES", budget)
        torch.testing.assert_close(received(query, key, 0.5), whole)


@pytest.mark.parametrize("name", EACH)
def test_keys_come_to_a_merger_with_their_number_of_heads(name, monkeypatch):
    model, inputs, seen = TINY[name].model(), TINY[name].video_inputs(), []

    def merge(patches, tower, *counts):
        seen.append(tower)
        return merge_contextual(patches, tower, *counts)

    monkeypatch.setattr("aim.methods.visionzip.merge_contextual", merge)
    method, vision = aim.VisionZip(keep_ratio=0.4), model.config.vision_config
    with torch.inference_mode(), aim.reduce(model, method):
        model(**inputs)
        encoded = FAMILIES[name].encode(model, pictures_of(inputs))
    [made] = next(iter(encoded.features.values())).attentions
    heads = vision.num_heads if hasattr(vision, "num_heads") else vision.num_attention_heads
    assert [one.heads for one in (*seen, made)] == [heads] * (len(seen) + 1) and heads > 1
    assert seen[0].head_mean_keys().shape[-1] * heads == made.keys.shape[-1]


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("kind", ["video", "images"])
def test_a_method_that_asks_the_tower_gets_the_same_by_pixels_and_by_features(name, kind):
    family, model = TINY[name], TINY[name].model()
    inputs = family.video_inputs() if kind == "video" else family.image_inputs(1 if name in ANY_SIZE else 3)
    method = METHODS["prumerge"]()
    if kind == "images" and family.tiled:
        with pytest.raises(Refusal, match="images without tiles"), aim.reduce(model, method):
            model.generate(**inputs, max_new_tokens=1)
        return
    stock = model.generate(**inputs, max_new_tokens=8, do_sample=False)
    before = fingerprint(model)
    with torch.no_grad(), aim.reduce(model, method) as trace:
        first = model.generate(**inputs, max_new_tokens=8, do_sample=False)
        by_generate = trace.merged_tokens
        model(**inputs)
    assert 0 < by_generate == trace.merged_tokens < trace.visual_tokens
    assert fingerprint(model) == before and first.shape == stock.shape
    if kind == "video":
        entry = FAMILIES[name]
        with torch.inference_mode(), aim.reduce(model, method):
            encoded = entry.encode(model, pictures_of(inputs))
            given = {key: value for key, value in inputs.items() if key not in pictures_of(inputs)}
            given |= encoded.inputs | feature_inputs(model, encoded.features)
            again = model.generate(**given, max_new_tokens=8, do_sample=False)
        assert torch.equal(first, again)


def test_images_of_several_sizes_are_each_ranked_as_if_alone():
    model, inputs = TINY["qwen2_vl"].model(), TINY["qwen2_vl"].image_inputs(4, seed=1)
    sizes = inputs["image_grid_thw"]
    assert len({tuple(size) for size in sizes.tolist()}) > 1
    method = METHODS["prumerge"](keep_ratio=0.5)
    with torch.no_grad(), aim.reduce(model, method) as trace:
        model(**inputs)
    expected, patches, tokens = [], 0, 0
    for size in sizes:
        count = int(size.prod())
        ids = torch.tensor([[5, *[IMAGE] * (count // 4), 6]])
        one = {"pixel_values": inputs["pixel_values"][patches : patches + count], "image_grid_thw": size[None]}
        with torch.no_grad(), aim.reduce(model, method) as alone:
            model(input_ids=ids, **one, mm_token_type_ids=(ids == IMAGE).int())
        expected += (alone.anchors + tokens).tolist()
        patches, tokens = patches + count, tokens + count // 4
    assert trace.anchors.tolist() == expected
