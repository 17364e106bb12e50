"""Molmo2: pixels and prompts beside its own processor, one block of tokens that see one another, and what its tower attends to."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import aim
from aim.engine import seams
from aim.families import FAMILIES, REFUSED, family_of, molmo2
from aim.families.pixel_change import GivenPixels
from aim.kernels.grid import Grid
from aim.kernels.refusal import Refusal
from aim.video.clip import clip_from_frames
from tests.tiny import IMAGE, TINY
from tests.tiny_checkpoints import END, FOLDERS, build_tokenizer, save_checkpoint


def test_a_release_without_it_is_named_where_it_is_refused():
    assert ("molmo2" in FAMILIES) == molmo2.IS_UNIFORM
    assert "molmo2" not in REFUSED if molmo2.IS_UNIFORM else "since release 5.20" in REFUSED["molmo2"]


if molmo2.IS_UNIFORM:
    from transformers.models.molmo2.processing_molmo2 import Molmo2Processor
    from transformers.models.molmo2.video_processing_molmo2 import Molmo2VideoProcessor

    FAMILY, FAMILY_TINY = FAMILIES["molmo2"], TINY["molmo2"]
    SETTINGS = FOLDERS["molmo2"][2]["video_preprocessor_config.json"]
here = pytest.mark.skipif(not molmo2.IS_UNIFORM, reason="This release of transformers has no Molmo2.")
PRUNERS = [
    aim.AIM(merge_ratio=1.0, l1=1, l2=5),
    aim.FastV(layer=2, keep_ratio=0.4),
    aim.VTW(layer=3),
]
NAMES = ("pixel_values_videos", "video_token_pooling", "video_grids")
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 8.0, "original_max_position_embeddings": 64}
OLMO = {"qk_norm_type": "olmo", "norm_after": True, "rope_parameters": YARN, "rope_scaling_layers": [1, 3]}


@pytest.fixture(scope="module", params=["Qwen3", "OLMo"])
def model(request):
    """As Molmo2-8B has it, and with the norms behind and the scaled positions of Molmo2-O-7B."""
    return FAMILY_TINY.model(**(OLMO if request.param == "OLMo" else {}))


def resized_by_hand(images, size, resample, antialias):
    """Each pixel from the four around its middle, with numpy: [F, 3, H, W] → [F, 3, height, width]."""
    assert int(resample) == 2 and not antialias
    made = images.double().numpy()
    for axis, wanted in ((2, size.height), (3, size.width)):
        have = made.shape[axis]
        middle = np.clip((np.arange(wanted) + 0.5) * have / wanted - 0.5, 0, None)
        low = np.minimum(np.floor(middle).astype(int), have - 1)
        share = (middle - low).reshape([-1 if axis == other else 1 for other in range(4)])
        made = made.take(low, axis) * (1 - share) + made.take(np.minimum(low + 1, have - 1), axis) * share
    return torch.from_numpy(made).float()


def normalised(images, _rescale, factor, _normalise, mean, std):
    return (images.float() * factor - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


@here
@pytest.mark.parametrize("shape", [(3, 37, 61), (2, 60, 60), (1, 133, 80), (1, 5, 9)])
@pytest.mark.parametrize("window", [[3, 3], [5, 3], [2, 2], [4, 4]])
def test_pixels_and_windows_are_those_of_its_own_processor(shape, window):
    frames = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    own = SimpleNamespace(resize=resized_by_hand, rescale_and_normalize=normalised)
    own._build_video_patches = lambda *args, **kwargs: Molmo2VideoProcessor._build_video_patches(own, *args, **kwargs)
    made = Molmo2VideoProcessor._preprocess(
        own,
        [torch.from_numpy(frames).permute(0, 3, 1, 2)],
        size=SimpleNamespace(height=60, width=60),
        resample=2,
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=SETTINGS["image_mean"],
        image_std=SETTINGS["image_std"],
        patch_size=4,
        pooling_size=window,
        return_tensors="pt",
    )
    config = FAMILY_TINY.model().config
    ours = FAMILY.pixel_values(config, frames, {**SETTINGS, "pooling_size": window})
    assert ours.keys() == made.keys() == set(NAMES)
    # A colour that falls between two whole ones may be rounded to either.
    deviations = torch.tensor(SETTINGS["image_std"]).repeat(16)
    steps = ((ours["pixel_values_videos"] - made["pixel_values_videos"]).abs() * 255 * deviations).round()
    assert steps.max() <= 1 and (steps > 0).float().mean() < 0.01
    assert torch.equal(ours["video_token_pooling"], made["video_token_pooling"].long())
    assert ours["video_grids"].tolist() == made["video_grids"].tolist()
    grid = FAMILY.grid(config, {**SETTINGS, "pooling_size": window}, *shape)
    assert [grid.frames, grid.rows, grid.columns] == made["video_grids"][0].tolist()


@here
def test_the_windows_of_single_pictures_are_not_those_of_clips_and_unknown_ways_of_resizing_are_refused():
    config = FAMILY_TINY.model().config
    of_images = {**SETTINGS, "pooling_size": [2, 2], "max_crops": 8}
    assert FAMILY.grid(config, of_images, 2, 30, 40) == FAMILY.grid(config, {}, 2, 30, 40) == Grid(2, 5, 5)
    with pytest.raises(Refusal, match="resample 1; Molmo2 resizes frames by 0, 2 or 3"):
        FAMILY.pixel_values(config, np.zeros((1, 8, 8, 3), np.uint8), {**SETTINGS, "resample": 1})


@here
@pytest.mark.parametrize("own", [True, False, None])
def test_the_prompt_of_a_clip_is_the_one_that_its_processor_writes(own):
    config = FAMILY_TINY.model().config
    if own is None:
        del config.use_frame_special_tokens  # the processor's own choice
    else:
        config.use_frame_special_tokens = own
    times = [0.0, 0.25, 0.5, 61.25]
    processor = SimpleNamespace(use_frame_special_tokens=own is not False, video_use_col_tokens=False)
    expected = Molmo2Processor.get_video_string(processor, torch.tensor([4, 2, 3]), times)
    parts = family_of(config).prompt(Grid(4, 2, 3), times)
    assert "".join(part if isinstance(part, str) else "<im_patch>" * part for part in parts) == expected
    assert family_of(config).prompt(Grid(2, 2, 3), [])[3].startswith(" 1.0 ")


@here
def test_all_that_its_processor_flags_is_flagged(tmp_path):
    vlm = aim.load(save_checkpoint("molmo2", tmp_path))
    tokenizer = build_tokenizer(FOLDERS["molmo2"][1])
    names = ["<im_patch>", "<im_start>", "<low_res_im_start>", "<frame_start>", "<im_end>", "<frame_end>"]
    ids = torch.arange(99)[None]
    [(name, told)] = FAMILY.told_types(vlm.model.config, ids).items()
    assert name == "mm_token_type_ids"
    assert set(told[0].nonzero().flatten().tolist()) == set(tokenizer.convert_tokens_to_ids(names)) and told.max() == 1
    # It says the first token before everything, which the chat template does not.
    clip = clip_from_frames(np.zeros((2, 8, 8, 3), np.uint8), 1.0)
    prompt = vlm.prompt_ids("what?", vlm.grid(2, 8, 8), clip.timestamps.tolist())
    assert tokenizer.decode(prompt).startswith(END) and not tokenizer.decode(prompt[1:]).startswith(END)
    vlm.checkpoint.tokenizer.bos_token = "<91>"
    vlm.checkpoint.tokenizer.add_special_tokens({"bos_token": "<low_res_im_start>"})
    assert vlm.prompt_ids("what?", vlm.grid(2, 8, 8), [])[0] == 91


def logits_of_masks(model, inputs, trace, told):
    """The last logits of the stock model, with a mask in each layer that hides what is not alive there."""
    ids = inputs["input_ids"][0]
    patches, place = (ids == IMAGE).nonzero().flatten(), torch.arange(len(ids))
    one = inputs["mm_token_type_ids"][0] == 1 if told else torch.zeros_like(ids, dtype=torch.bool)

    def hide(layer):
        visible = torch.ones(len(ids), dtype=torch.bool)
        visible[patches] = False
        visible[patches[trace.anchors[trace.survivors[layer]]]] = True
        seen = ((place[:, None] >= place) | one[:, None] & one) & visible | (place[:, None] == place)
        return lambda _module, args, kwargs: (args, {**kwargs, "attention_mask": seen[None, None]})

    layers = model.model.language_model.layers
    hooks = [layer.register_forward_pre_hook(hide(index), with_kwargs=True) for index, layer in enumerate(layers)]
    try:
        with torch.no_grad():
            return model(**inputs).logits[0, -1]
    finally:
        for hook in hooks:
            hook.remove()


@here
@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
@pytest.mark.parametrize("kind", ["video", "images"])
@pytest.mark.parametrize("method", PRUNERS, ids=lambda method: method.name)
def test_a_cut_is_a_mask_whether_the_model_is_told_of_pictures_or_not(model, method, kind, told):
    inputs = FAMILY_TINY.video_inputs() if kind == "video" else FAMILY_TINY.image_inputs()
    if not told:
        del inputs["mm_token_type_ids"]
    with torch.no_grad(), aim.reduce(model, method) as trace:
        removed = model(**inputs).logits[0, -1]
    assert trace.tokens_per_layer[-1][0] < trace.tokens_per_layer[0][0]
    torch.testing.assert_close(removed, logits_of_masks(model, inputs, trace, told), atol=1e-4, rtol=1e-4)


@here
@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
def test_reducing_nothing_is_the_stock_model_for_one_prompt_and_a_padded_batch(model, told):
    batch, _ = FAMILY_TINY.batch_inputs()
    for inputs in (FAMILY_TINY.video_inputs(), batch, FAMILY_TINY.image_inputs()):
        if not told:
            del inputs["mm_token_type_ids"]
        stock = model.generate(**inputs, max_new_tokens=24, do_sample=False)
        with aim.reduce(model, aim.Full()) as trace:
            assert torch.equal(model.generate(**inputs, max_new_tokens=24, do_sample=False), stock)
        assert trace.key_value_lengths == [sum(pair) for pair in trace.tokens_per_layer]


@here
@pytest.mark.parametrize("told", [True, False], ids=["told", "untold"])
def test_the_stock_model_lets_the_first_frame_see_the_last_one_where_it_is_told_of_pictures(model, told):
    inputs = FAMILY_TINY.video_inputs()
    markers = torch.isin(inputs["input_ids"][0], torch.tensor([95, 96]))
    with torch.no_grad():
        features = model.model.get_video_features(*(inputs[name] for name in NAMES))
        [tokens] = features.pooler_output
        states = []
        for shift in (0.0, 1.0):
            features.pooler_output = (torch.cat([tokens[:-1], tokens[-1:] + shift]),)
            words = {name: inputs[name] for name in ("input_ids", "mm_token_type_ids")[: 1 + told]}
            states.append(model(**words, mm_encoder_outputs={"video": features}, output_hidden_states=True).hidden_states[-1][0])
    changed = (states[0] - states[1]).abs().amax(-1) > 1e-3
    patches = inputs["input_ids"][0] == IMAGE
    first, last = patches.nonzero().flatten()[[0, -1]].tolist()
    assert changed[last:].all() and not changed[: first - 1].any()
    assert changed[patches].all() == changed[markers].all() == told


@here
def test_merged_tokens_see_one_another_too(model):
    """A prompt of as many placeholders, whose features are the merged tokens, gives the same."""
    inputs, method = FAMILY_TINY.video_inputs(), aim.ToMe(merge_ratio=0.4)
    entered = {}
    note = lambda _module, _args, kwargs: entered.update(kwargs)  # noqa: E731
    with torch.no_grad(), aim.reduce(model, method) as trace:
        hook = model.model.language_model.register_forward_pre_hook(note, with_kwargs=True)
        merged = model(**inputs).logits[0, -1]
        hook.remove()
    ids = inputs["input_ids"][0]
    patches = (ids == IMAGE).nonzero().flatten()
    stay = torch.ones(len(ids), dtype=torch.bool)
    stay[patches] = False
    stay[patches[trace.anchors]] = True
    told = inputs["mm_token_type_ids"][:, stay]
    with torch.no_grad():
        stock = model(inputs_embeds=entered["inputs_embeds"], mm_token_type_ids=told).logits[0, -1]
    torch.testing.assert_close(merged, stock, atol=1e-4, rtol=1e-4)


@here
def test_closed_gaps_turn_each_layer_by_its_own_rotary_embedding(model):
    """Renumbered positions after a cut: what a layer is given is what the model makes of the numbers 0, 1, 2..."""
    given = []
    hook = lambda _module, _args, kwargs: given.append(kwargs[seams.TABLES])  # noqa: E731
    hooks = []
    with torch.no_grad(), aim.reduce(model, aim.PyramidDrop(ratio=0.5)) as trace:
        hooks = [layer.register_forward_pre_hook(hook, with_kwargs=True) for layer in model.model.language_model.layers]
        model(**FAMILY_TINY.video_inputs())
    for one in hooks:
        one.remove()
    parts = model.model.language_model
    for layer, (cosines, sines) in enumerate(given):
        rotary = parts.rotary_emb if layer in parts.config.rope_scaling_layers else parts.rotary_emb_unscaled
        expected = rotary(torch.zeros(1), torch.arange(sum(trace.tokens_per_layer[layer]))[None])
        torch.testing.assert_close((cosines, sines), expected)


@here
def test_looking_ahead_gives_the_queries_and_keys_that_a_layer_then_has(model):
    pairs = []

    def ask(module, args, kwargs):
        hidden, further, kwargs = seams.take_hidden(args, kwargs)
        pairs.append([])
        seams.look_ahead(module, hidden, kwargs[seams.TABLES], lambda *seen: pairs[-1].extend(seen))
        return (hidden, *further), {**kwargs, "observe": lambda *seen: pairs[-1].extend(seen)}

    with torch.no_grad(), aim.reduce(model, aim.Full()):
        hooks = [layer.register_forward_pre_hook(ask, with_kwargs=True) for layer in model.model.language_model.layers]
        model(**FAMILY_TINY.video_inputs())
    for hook in hooks:
        hook.remove()
    for query, key, scaling, *there in pairs:
        torch.testing.assert_close((query, key, scaling), tuple(there))


@here
def test_its_tower_reports_sums_over_the_patches_of_a_token_in_the_last_layer_that_is_read():
    model, seen, made = FAMILY_TINY.model(), [], []
    model.config.adapter_config.vision_feature_layer = [0, -2]  # of three layers, so the last one is read by nobody
    tower, inputs = model.model.vision_tower, FAMILY_TINY.video_inputs(3)
    pixels = [inputs[name] for name in NAMES]
    hooks = [
        *FAMILY.watch_tower(model, seen.append),
        tower.layers[1].self_attn.k_proj.register_forward_hook(lambda m, a, o: made.append(o)),
    ]
    with torch.no_grad():
        model.model.get_video_features(*pixels)
        for hook in hooks:
            hook.remove()
        tower.set_attn_implementation("eager")
        columns = tower(pixels[0], output_attentions=True).attentions[1].mean((1, 2)).view(3, 15, 15)
    for row in range(5):
        for column in range(5):
            block = columns[:, 3 * row : 3 * row + 3, 3 * column : 3 * column + 3].sum((1, 2))
            torch.testing.assert_close(seen[0].received[:, 5 * row + column], block, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(seen[0].received.sum(1), torch.ones(3))
    torch.testing.assert_close(seen[0].keys[:, 0], made[0].view(3, 15, 15, 32)[:, :3, :3].mean((1, 2)), rtol=1e-4, atol=1e-6)
    assert seen[0].heads == 4 and seen[0].keys.shape == (3, 25, 32)


@here
def test_what_changes_is_told_for_each_token_by_its_own_patches():
    config = FAMILY_TINY.model().config
    frames = np.zeros((2, 60, 60, 3), np.uint8)
    frames[1, 12:24, 24:36] = 255  # the second row and the third column of 5 x 5
    settings = {**SETTINGS, "image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    pixels = FAMILY.pixel_values(config, frames, settings)["pixel_values_videos"]
    change = GivenPixels(FAMILY, config, pixels).of(50, 0, 50, Grid(2, 5, 5))
    assert change.argmax() == 7 and change[0, 7] == pytest.approx(255) and change.sum() == pytest.approx(255)


def prompt_of_an_image(columns_behind_rows: bool):
    """An image of 5 x 5 tokens and tiles of 2 x 4, with a marker behind each row of the tiles or without."""
    row = [IMAGE] * 4 + [94] * columns_behind_rows
    ids = torch.tensor([[5, 91, *[IMAGE] * 25, 96, 95, *row, *row, 96, 6, 7]])
    windows = torch.cat([torch.arange(225).view(25, 9), 225 + torch.arange(72).view(8, 9)])
    inputs = {"pixel_values": torch.randn(2, 225, 48), "image_token_pooling": windows, "image_grids": torch.tensor([[5, 5, 2, 4]])}
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "mm_token_type_ids": FAMILY_TINY.told_types(ids), **inputs}


@here
@pytest.mark.parametrize("run", [lambda model, inputs: model.generate(**inputs, max_new_tokens=2), lambda model, inputs: model(**inputs)])
def test_a_picture_is_read_where_its_rows_stand_together_and_refused_where_they_stand_apart(run):
    model = FAMILY_TINY.model()
    with torch.no_grad(), aim.reduce(model, aim.PruMerge(keep_ratio=0.5)) as trace:
        run(model, prompt_of_an_image(False))
    assert trace.grids == [(1, 5, 5), (1, 2, 4)]
    with pytest.raises(Refusal, match="rows of a picture stand apart.*Give a clip"), aim.reduce(model, aim.AIM()):
        run(model, prompt_of_an_image(True))
    with pytest.raises(Refusal, match="Molmo2 takes only clips here"):
        FAMILY.taking(is_image=True)
