"""Methods on families: nothing changes where nothing should, lengths are as scheduled, generate works, nothing is left behind."""

from functools import cache

import pytest
import torch

import aim
from aim.kernels.refusal import Refusal
from tests.tiny import ALIKE, ANY_SIZE, TINY, fingerprint

LAYERS, FRAMES, WORDS = 6, 4, 4
NOTHING = {
    "aim": aim.AIM(merge_ratio=1.0, l1=LAYERS, l2=LAYERS + 1),
    "full": aim.Full(),
    "fastv": aim.FastV(layer=LAYERS),
    "pdrop": aim.PyramidDrop(ratio=1.0),
    "vtw": aim.VTW(layer=LAYERS),
    "prumerge": aim.PruMerge(keep_ratio=1.0),
    "visionzip": aim.VisionZip(keep_ratio=1.0),
    "fastvid": aim.FastVID(keep_ratio=1.0),
    "tome": aim.ToMe(merge_ratio=1.0),
    "random": aim.Random(layer=LAYERS),
    "fewerframes": aim.FewerFrames(keep_ratio=1.0),
    "flashvid": aim.FlashVID(keep_ratio=1.0),
    "holitom": aim.HoliTom(keep_ratio=1.0),
    "mask": aim.Mask(),
    "cdpruner": aim.CDPruner(keep_ratio=1.0),
    "evs": aim.EVS(keep_ratio=1.0),
    "difffp": aim.DiffFP(pixel_threshold=0.0),
    "vidcom2": aim.VidCom2(keep_ratio=1.0),
    "divprune": aim.DivPrune(keep_ratio=1.0),
    "dart": aim.DART(keep_ratio=1.0),
    "sparsevlm": aim.SparseVLM(keep_ratio=1.0),
    "pool": aim.Pool(keep_ratio=1.0),
    "framefusion": aim.FrameFusion(keep_ratio=1.0),
}
REDUCED = {
    "aim": aim.AIM(merge_ratio=0.5, l1=2, l2=5),
    "full": aim.Full(),
    "fastv": aim.FastV(layer=2, keep_ratio=0.3),
    "pdrop": aim.PyramidDrop(ratio=0.5),
    "vtw": aim.VTW(layer=3),
    "prumerge": aim.PruMerge(keep_ratio=0.4),
    "visionzip": aim.VisionZip(keep_ratio=0.4),
    "fastvid": aim.FastVID(keep_ratio=0.4, least_segments=1),
    "tome": aim.ToMe(merge_ratio=0.3),
    "random": aim.Random(layer=1, keep_ratio=0.3),
    "fewerframes": aim.FewerFrames(keep_ratio=0.5),
    "flashvid": aim.FlashVID(keep_ratio=0.4),
    "holitom": aim.HoliTom(keep_ratio=0.4),
    "mask": aim.Mask(mask_places=(0, 3, 7, 11), mask_mode="without"),
    "cdpruner": aim.CDPruner(keep_ratio=0.3),
    "evs": aim.EVS(keep_ratio=0.6),
    "difffp": aim.DiffFP(pixel_threshold=288.0),  # what two values of noise differ by on average, in steps
    "vidcom2": aim.VidCom2(keep_ratio=0.4, exact=True),
    "divprune": aim.DivPrune(keep_ratio=0.4),
    "dart": aim.DART(layer=2, keep_ratio=0.3),
    "sparsevlm": aim.SparseVLM(keep_ratio=0.3),
    "pool": aim.Pool(keep_ratio=0.3),
    "framefusion": aim.FrameFusion(keep_ratio=0.4, similarity=1.0),  # nothing is as alike, so that it runs as planned
}
BY_THE_CLIP = ("holitom", "difffp")  # what stands still decides how many tokens these leave
MAY_KEEP_PICTURES = ("full", "evs")  # what these leave of a single picture is all of it
KEEP_PICTURES = ("difffp",)  # these keep the first of several pictures of one size whole, and the pixels say what of the others


def covering(methods) -> list:
    """Every pair of family and method. By default every method runs on the first family and four run on each, two on those of Qwen3 and
    none on those that are alike. CI runs two on those too, and half of all methods on each of the others (`whole`): no method and no family
    is left out. What remains is `every`."""
    pairs = []
    for number, family in enumerate(TINY):
        share = 0 if family in ALIKE else 2 if family.startswith("qwen3") else 4
        for place, name in enumerate(methods):
            turn = (place - 4 * number) % len(methods)
            marks = () if number == 0 or turn < share else pytest.mark.whole if turn < (2 if family in ALIKE else 11) else pytest.mark.every
            pairs.append(pytest.param(family, name, marks=marks))
    return pairs


EVERYWHERE = pytest.mark.parametrize(("family", "name"), covering(list(REDUCED)))


@cache
def tiny(family):
    """Made once. As a fixture of the module, pytest would make it anew for every pair of family and method."""
    return TINY[family].model(layers=LAYERS)


@pytest.fixture
def model(family):
    return tiny(family)


@cache
def stock_answer(family, kind):
    """What the stock model says."""
    return generate(tiny(family), inputs_of(family, kind))


def inputs_of(family, kind):
    return TINY[family].video_inputs(FRAMES) if kind == "video" else TINY[family].image_inputs()


def refused_on_images(family, method):
    """Part of the sentence by which the method is refused on the family's images; None where it runs on them."""
    if method.needs_tower and TINY[family].tiled:
        return "images without tiles"
    if method.name == "fewerframes" and (family in ANY_SIZE or TINY[family].tiled):  # of several sizes: each is a clip of one frame
        return "2 frames or more"
    return None


def generate(model, inputs, **options):
    with torch.no_grad():
        return model.generate(**inputs, max_new_tokens=WORDS, do_sample=False, **options)


def test_the_tables_here_name_every_method():
    assert set(NOTHING) == set(REDUCED) == set(aim.METHODS)


@pytest.mark.parametrize("kind", ["video", "images"])
@EVERYWHERE
def test_a_method_told_to_drop_nothing_is_the_stock_model(family, model, name, kind):
    if kind == "images" and NOTHING[name].needs_tower and TINY[family].tiled:
        pytest.skip("test_several_images_are_reduced_too has the refusal")
    stock = stock_answer(family, kind)
    with aim.reduce(model, NOTHING[name]):
        assert torch.equal(generate(model, inputs_of(family, kind)), stock)


@EVERYWHERE
def test_layers_and_cache_are_as_long_as_scheduled_and_decoding_goes_on(family, model, name):
    method, inputs = REDUCED[name].for_depth(LAYERS), inputs_of(family, "video")
    length = inputs["input_ids"].shape[1]
    with aim.reduce(model, method) as trace:
        output = generate(model, inputs, return_dict_in_generate=True)
    steps, per_step = trace.frames, trace.rows * trace.columns
    planned, scored_from = method.merged_tokens(steps, per_step), int(TINY[family].linear)
    # Each frame of a clip and each window of frames is rounded by itself.
    if name in BY_THE_CLIP:  # a plan says the most, but for the rounding of each frame
        assert trace.merged_tokens <= planned + 1.5 * steps
    else:
        assert trace.merged_tokens == planned
    expected = method.runs_on(LAYERS, trace.merged_tokens, scored_from)
    text = length - steps * per_step
    assert trace.visual_tokens == TINY[family].tokens(FRAMES)
    assert trace.tokens_per_layer == [(visual, text) for visual in expected]
    lengths = [visual + text for visual in expected]
    assert trace.key_value_lengths == TINY[family].cached(lengths)
    held = [layer.keys.shape[-2] if hasattr(layer, "keys") else 0 for layer in output.past_key_values.layers]
    assert held == TINY[family].cached([length + WORDS - 1 for length in lengths])
    assert output.sequences.shape[1] == length + WORDS


@EVERYWHERE
def test_several_images_are_reduced_too(family, model, name):
    if reason := refused_on_images(family, REDUCED[name]):
        with pytest.raises(Refusal, match=reason), aim.reduce(model, REDUCED[name]):
            generate(model, inputs_of(family, "images"))
        return
    with aim.reduce(model, REDUCED[name]) as trace:
        output = generate(model, inputs_of(family, "images"))
    inputs = inputs_of(family, "images")
    assert output.shape[1] == inputs["input_ids"].shape[1] + WORDS
    first, last = trace.tokens_per_layer[0][0], trace.tokens_per_layer[-1][0]
    if name in KEEP_PICTURES:
        assert first == last >= sum(rows * columns + frames - 1 for frames, rows, columns in trace.grids)
        assert (last < trace.visual_tokens) == any(frames > 1 for frames, _, _ in trace.grids)
    elif name in MAY_KEEP_PICTURES:
        assert first == last == sum(REDUCED[name].merged_tokens(frames, rows * columns) for frames, rows, columns in trace.grids)
    else:
        assert last < trace.visual_tokens


@EVERYWHERE
def test_nothing_is_left_on_the_model(family, model, name):
    inputs, stock = inputs_of(family, "video"), stock_answer(family, "video")
    before = fingerprint(model)
    with aim.reduce(model, REDUCED[name]):
        generate(model, inputs)
    assert fingerprint(model) == before
    assert torch.equal(generate(model, inputs), stock)


@EVERYWHERE
def test_a_batch_equals_its_prompts_one_by_one(family, model, name):
    batch, alone = TINY[family].batch_inputs(FRAMES)
    length = batch["input_ids"].shape[1]
    with aim.reduce(model, REDUCED[name]):
        together = generate(model, batch)
        for row, inputs in zip(together, alone, strict=True):
            assert torch.equal(row[length:], generate(model, inputs)[0, inputs["input_ids"].shape[1] :])
