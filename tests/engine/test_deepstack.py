"""DeepStack under `aim.reduce`: the features of the tower's depths reach the tokens they belong to, merged and cut with them."""

import pytest
import torch

import aim
from aim.bench.masked import masked
from aim.engine.features import feature_inputs
from aim.kernels.merging import MergedClip
from tests.tiny import TINY, both_kinds

LEVELS = 3


@pytest.fixture(scope="module")
def tiny():
    return TINY["qwen3_vl"]


@pytest.fixture(scope="module")
def model(tiny):
    return tiny.model()


def stock_arguments(model, inputs) -> dict:
    """What the stock model gives its text model."""
    seen = {}
    hook = model.model.language_model.register_forward_pre_hook(lambda _module, _args, kwargs: seen.update(kwargs), with_kwargs=True)
    with torch.no_grad():
        model(**inputs, use_cache=False)
    hook.remove()
    return seen


def stock_logits(model, stock, keep, embeddings, levels):
    """The stock text model, called by hand on the tokens `keep` [n]."""
    with torch.no_grad():
        hidden = model.model.language_model(
            inputs_embeds=embeddings,
            position_ids=stock["position_ids"][..., keep],
            attention_mask=torch.ones(1, len(keep), dtype=torch.long),
            visual_pos_masks=stock["visual_pos_masks"][:, keep],
            deepstack_visual_embeds=levels,
            use_cache=False,
        ).last_hidden_state
        return model.lm_head(hidden)


@pytest.mark.parametrize("kind", ["video", "images", "both"])
@pytest.mark.parametrize("method", [aim.AIM(merge_ratio=0.4, l1=6, l2=7), aim.PruMerge(keep_ratio=0.4)], ids=lambda method: method.name)
def test_merged_levels_are_means_over_the_patches_of_a_token(tiny, model, method, kind):
    inputs = {"video": tiny.video_inputs, "images": tiny.image_inputs, "both": lambda: both_kinds(tiny)}[kind]()
    stock, entered = stock_arguments(model, inputs), []
    with torch.no_grad(), aim.reduce(model, method) as trace:
        first = model.model.language_model.layers[0]
        hook = first.register_forward_pre_hook(lambda _module, args, _kwargs: entered.append(args[0]), with_kwargs=True)
        reduced = model(**inputs, use_cache=False).logits
        hook.remove()
    visual = stock["visual_pos_masks"][0]
    anchors = visual.nonzero().flatten()[trace.anchors].tolist()
    keep = sorted((~visual).nonzero().flatten().tolist() + anchors)
    order = [anchors.index(place) for place in keep if place in anchors]
    groups = trace.assignment.flatten().tolist()
    members = [[patch for patch, group in enumerate(groups) if group == merged] for merged in order]
    levels = [torch.stack([level[patches].mean(0) for patches in members]) for level in stock["deepstack_visual_embeds"]]
    assert len(levels) == LEVELS and len(members) < len(groups)
    expected = stock_logits(model, stock, torch.tensor(keep), entered[0], levels)
    torch.testing.assert_close(reduced, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layer", range(1, LEVELS + 2))
@pytest.mark.parametrize("kind", ["video", "both"])
def test_a_cut_between_two_levels_equals_hiding_the_tokens(tiny, model, layer, kind):
    inputs = tiny.video_inputs() if kind == "video" else both_kinds(tiny)
    method = aim.FastV(layer=layer, keep_ratio=0.4)
    with torch.no_grad():
        with masked(model, method) as attended:
            hidden = model(**inputs).logits[:, -1]
        with aim.reduce(model, method) as trace:
            removed = model(**inputs).logits[:, -1]
    assert attended == [visual for visual, _ in trace.tokens_per_layer] and attended[layer] < attended[layer - 1]
    torch.testing.assert_close(removed, hidden, atol=1e-4, rtol=1e-4)


def without(level):
    """A level of zeros: a tensor, or a sequence of some."""
    return torch.zeros_like(level) if isinstance(level, torch.Tensor) else tuple(map(torch.zeros_like, level))


def test_every_level_reaches_the_answer(tiny, model):
    inputs = tiny.video_inputs()
    given = {name: value for name, value in inputs.items() if name != "pixel_values_videos"}
    with torch.no_grad(), aim.reduce(model, aim.AIM(merge_ratio=0.5, l1=4, l2=9)):
        features = model.model.get_video_features(inputs["pixel_values_videos"], inputs["video_grid_thw"], return_dict=True)
        levels = features.deepstack_features
        answers = []
        for left_out in range(LEVELS + 1):
            features.deepstack_features = [without(level) if number == left_out else level for number, level in enumerate(levels)]
            answers.append(model(**given, **feature_inputs(model, {"video": features})).logits[:, -1])
    assert not any(torch.allclose(answer, answers[LEVELS], atol=1e-3) for answer in answers[:LEVELS])


@pytest.mark.parametrize("twice", [(), (0, 3)], ids=["once", "twice"])
def test_patches_that_a_method_drops_are_in_no_mean_and_a_second_token_at_a_place_takes_its_level(tiny, model, monkeypatch, twice):
    def places(count):
        return torch.tensor([*range(0, count, 3), *twice]).sort().values

    def every_third(_self, patches, *_given):
        frames, per_frame, _ = patches.shape
        anchors = places(frames * per_frame)
        first = torch.searchsorted(anchors, torch.arange(0, frames * per_frame, 3))
        assignment = torch.full((frames * per_frame,), -1)
        assignment[::3] = first
        return MergedClip(patches.flatten(0, 1)[anchors], assignment.view(frames, -1), first.bincount(minlength=len(anchors)), anchors)

    monkeypatch.setattr(aim.ToMe, "merge", every_third)
    inputs = tiny.video_inputs()
    stock = stock_arguments(model, inputs)
    visual = stock["visual_pos_masks"][0]
    kept = places(int(visual.sum()))
    keep = torch.cat([(~visual).nonzero().flatten(), visual.nonzero().flatten()[kept]]).sort().values
    with torch.no_grad(), aim.reduce(model, aim.ToMe()):
        reduced = model(**inputs, use_cache=False).logits
    levels = [level[kept] for level in stock["deepstack_visual_embeds"]]
    expected = stock_logits(model, stock, keep, stock["inputs_embeds"][:, keep], levels)
    torch.testing.assert_close(reduced, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", [{"num_beams": 3}, {"num_return_sequences": 2, "do_sample": True}], ids=str)
def test_beams_and_several_answers_equal_stock_where_nothing_is_dropped(tiny, model, options):
    options, inputs, answers = {"max_new_tokens": 8, "do_sample": False, **options}, both_kinds(tiny), []
    with torch.no_grad():
        torch.manual_seed(3)
        stock = model.generate(**inputs, **options)
        for method in (aim.Full(), aim.AIM(merge_ratio=0.5, l1=2, l2=5)):
            torch.manual_seed(3)
            with aim.reduce(model, method) as trace:
                answers.append(model.generate(**inputs, **options))
    assert torch.equal(answers[0], stock) and answers[1].shape == stock.shape
    assert len({str(record.tokens_per_layer) for record in trace.prompts}) == 1 < len(trace.prompts)


# Granite 4 Vision: visual tokens enter as zeros, and features are added before layers that the config names, to newlines too.
@pytest.fixture(scope="module")
def granite():
    return TINY["granite4_vision"].model()


def granite_logits(model, stock, embeddings, named, levels):
    """The stock text model, called by hand with features [tokens, C] for the tokens `named` [n], and its head."""
    with torch.no_grad():
        hidden = model.model.language_model(
            inputs_embeds=embeddings[None],
            position_ids=torch.arange(len(named))[None],
            attention_mask=torch.ones(1, len(named), dtype=torch.long),
            vision_mask=named[None, :, None],
            deepstack_features=levels,
            use_cache=False,
        ).last_hidden_state
        return model.lm_head(hidden) / model.config.text_config.logits_scaling


@pytest.mark.parametrize("kind", ["video", "images"])
@pytest.mark.parametrize(
    "method",
    [aim.AIM(merge_ratio=0.4, l1=6, l2=7), aim.ToMe(merge_ratio=0.4), aim.PruMerge(keep_ratio=0.4)],
    ids=lambda method: method.name,
)
def test_where_tokens_enter_as_zeros_the_first_level_is_merged_and_the_others_are_means(granite, method, kind, monkeypatch):
    tiny, merged = TINY["granite4_vision"], []
    inputs = tiny.video_inputs() if kind == "video" else tiny.image_inputs()
    stock = stock_arguments(granite, inputs)
    merge_on = type(method).merge_on

    def watched(self, grid, patches, *given):
        merged.append((patches, merge_on(self, grid, patches, *given)))
        return merged[-1][1]

    monkeypatch.setattr(type(method), "merge_on", watched)
    with torch.no_grad(), aim.reduce(granite, method) as trace:
        reduced = granite(**inputs, use_cache=False).logits
    named, table = stock["vision_mask"][0, :, 0], stock["deepstack_features"]
    places = named.nonzero().flatten()
    newlines = torch.arange(len(places)) % 26 == 25
    patches = {layer: level[~newlines] for layer, level in table.items()}
    assert sorted(table) == [0, 1, 2, 3, 5] and torch.equal(torch.cat([seen.flatten(0, 1) for seen, _ in merged]), patches[0])
    # Stock without the patches that are no anchors. What is left of the placeholders are anchors and newlines, in their order.
    anchors = places[~newlines][trace.anchors]
    keep = torch.cat([(~named).nonzero().flatten(), places[newlines], anchors]).sort().values
    rank = {int(place): number for number, place in enumerate(anchors)}
    groups = trace.assignment.flatten()
    own = torch.cat([result.tokens for _, result in merged])
    levels = {}
    for layer, level in table.items():
        means = own if layer == 0 else torch.stack([patches[layer][groups == number].mean(0) for number in range(len(anchors))])
        rows = {int(place): level[number] for number, place in enumerate(places) if newlines[number]}
        rows |= {place: means[number] for place, number in rank.items()}
        levels[layer] = torch.stack([rows[place] for place in keep.tolist() if place in rows])
    expected = granite_logits(granite, stock, stock["inputs_embeds"][0, keep], named[keep], levels)
    assert len(anchors) < len(groups) and not stock["inputs_embeds"][0, places].any()
    torch.testing.assert_close(reduced, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layer", range(1, 6))
@pytest.mark.parametrize("batch", [False, True], ids=["one", "padded batch"])
def test_a_cut_before_any_layer_with_features_equals_hiding_the_tokens(granite, layer, batch):
    tiny = TINY["granite4_vision"]
    inputs, alone = tiny.batch_inputs()
    method = aim.FastV(layer=layer, keep_ratio=0.4)
    with torch.no_grad():
        hidden = []
        for one in alone:
            with masked(granite, method) as attended:
                hidden.append(granite(**one).logits[:, -1])
        with aim.reduce(granite, method) as trace:
            removed = [granite(**inputs).logits[:, -1]] if batch else [granite(**one).logits[:, -1] for one in alone]
    assert attended == [visual for visual, _ in trace.tokens_per_layer] and attended[layer] < attended[layer - 1]
    torch.testing.assert_close(torch.cat(removed), torch.cat(hidden), atol=1e-4, rtol=1e-4)
