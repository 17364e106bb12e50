"""Mask: removing tokens equals hiding them by attention masks, where a layer has them; what is planned, recorded, drawn and refused."""

import base64
import json

import numpy as np
import pytest
import torch

import aim
from aim.commands.knobs import add_knobs, methods_of
from aim.engine import seams
from aim.evaluation.measure import evidence_recall
from aim.kernels.refusal import Refusal
from aim.planning.plan import plan
from aim.views.explorer import payload
from aim.views.frames import VIEWS, draw_frames
from tests.tiny import FEWER, IMAGE, TINY, VIDEO

PLACES = (0, 1, 7, 12, 13, 24)


@pytest.fixture(scope="module", params=FEWER)
def family(request):
    return TINY[request.param]


@pytest.fixture(scope="module")
def model(family):
    return family.model()


def hidden_by_masks(model, inputs, hidden):
    """The last logits of the stock model in which nothing after the places `hidden` of the prompt may attend to them.

    A layer of linear attention, which has no such mask, is given the other places alone. In Gemma the tokens of one picture also attend to
    later ones of it: in Gemma 4 only in the layers with a window. In Molmo2 all that is told to belong to images is one picture.
    """
    length = inputs["input_ids"].shape[1]
    kind, ids = model.config.model_type, inputs["input_ids"][0]
    is_patch = (ids == IMAGE) | (ids == VIDEO)
    picture = torch.cumsum(is_patch & ~is_patch.roll(1), 0) * is_patch

    if kind == "molmo2":
        is_patch = inputs["mm_token_type_ids"][0] == 1
        picture = is_patch.long()

    def seen(both: bool):
        pairs = torch.ones(length, length).tril().bool()
        pairs |= both & (picture[:, None] == picture) & is_patch
        pairs[:, hidden] = False
        return pairs | torch.eye(length).bool()

    left = torch.ones(length, dtype=torch.bool).index_fill(0, hidden, False)

    def mask(layer, args, kwargs):
        if not hasattr(layer, "self_attn"):
            return args, {**kwargs, "attention_mask": None}
        both = kind in ("gemma3", "molmo2") or (kind == "gemma4" and layer.self_attn.is_sliding)
        return args, {**kwargs, "attention_mask": seen(both)[None, None]}

    def only_left(_linear, args, kwargs):
        return args, {**kwargs, "hidden_states": kwargs["hidden_states"][:, left]}

    def put_back(_linear, _args, output):
        return output.new_zeros(1, length, output.shape[2]).masked_scatter(left[None, :, None], output)

    layers = seams.parts_of(model).layers
    hooks = [layer.register_forward_pre_hook(mask, with_kwargs=True) for layer in layers]
    for linear in (layer.linear_attn for layer in layers if hasattr(layer, "linear_attn")):
        hooks += [linear.register_forward_pre_hook(only_left, with_kwargs=True), linear.register_forward_hook(put_back)]
    try:
        with torch.no_grad():
            return model(**inputs).logits[0, -1]
    finally:
        for hook in hooks:
            hook.remove()


@pytest.mark.parametrize("mode", ["without", "only"])
def test_removing_equals_hiding_in_every_layer(family, model, mode):
    inputs = family.video_inputs()
    ids = inputs["input_ids"][0]
    patches = ((ids == IMAGE) | (ids == VIDEO)).nonzero().flatten()[: family.tokens(4)]
    chosen = torch.zeros(len(patches), dtype=torch.bool)
    chosen[list(PLACES)] = True
    chosen[family.per_frame : 2 * family.per_frame] = True
    gone = chosen if mode == "without" else ~chosen
    with aim.reduce(model, aim.Mask(mask_places=PLACES, mask_frames=(1,), mask_mode=mode)) as trace, torch.no_grad():
        removed = model(**inputs).logits[0, -1]
    torch.testing.assert_close(removed, hidden_by_masks(model, inputs, patches[gone]), atol=1e-4, rtol=1e-4)
    assert trace.anchors.tolist() == (~gone).nonzero().flatten().tolist()
    assert torch.equal(trace.assignment.flatten() < 0, gone)
    assert torch.equal(trace.assignment.flatten()[~gone], torch.arange(int((~gone).sum())))
    assert {visual for visual, _ in trace.tokens_per_layer} == {int((~gone).sum())} == {trace.merged_tokens}


def test_it_is_planned_as_it_runs():
    layers = plan("llava-onevision-qwen2-7b", 32, 100, aim.Mask(mask_frames=(0, 31), mask_places=(5, 200))).tokens_per_layer
    assert layers == [(196 * 30 - 1, 100)] * 28
    only = aim.Mask(mask_frames=(2,), mask_places=(2 * 196, 7), mask_mode="only")
    assert plan("llava-onevision-qwen2-7b", 4, 100, only).tokens_per_layer == [(197, 100)] * 28


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (aim.Mask(mask_frames=(0, 1, 2, 3)), "all 100 visual tokens are chosen; at least one must stay"),
        (aim.Mask(mask_mode="only"), "nothing is chosen; at least one must stay"),
        (aim.Mask(mask_places=(99, 100)), "mask_places holds 100; the model has 100 visual tokens of this clip, numbered 0 to 99"),
        (aim.Mask(mask_frames=(4,)), "mask_frames holds 4; the model has 4 frames of this clip"),
    ],
    ids=["all", "none", "place", "frame"],
)
def test_what_cannot_be_asked_is_refused_in_planning_and_in_running(method, message):
    with pytest.raises(Refusal, match=message):
        method.merged_tokens(4, 25)
    with pytest.raises(Refusal, match=message):
        method.merge(torch.zeros(4, 25, 8))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"mask_places": (1, -1)}, "an entry of mask_places is -1; accepted: a whole number of at least 0"),
        ({"mask_places": 3}, "mask_places is 3; accepted: a list"),
        ({"mask_frames": (0.5,)}, "an entry of mask_frames is 0.5"),
        ({"mask_mode": "keep"}, 'mask_mode is \'keep\'; accepted: "without" or "only"'),
    ],
)
def test_a_knob_out_of_range_is_refused(knobs, message):
    with pytest.raises(Refusal, match=message):
        aim.Mask(**knobs)


@pytest.mark.parametrize("kind", [tuple, list])
def test_numpys_numbers_become_plain_ones(kind):
    params = aim.Mask(mask_places=kind(np.arange(3)), mask_frames=kind(np.array([1], np.uint8))).params()
    assert json.loads(json.dumps(params)) == {"mask_places": [0, 1, 2], "mask_frames": [1], "mask_mode": "without"}
    with pytest.raises(Refusal, match="an entry of mask_places is True"):
        aim.Mask(mask_places=(np.int64(0), True))


def test_the_command_line_takes_it():
    import argparse

    parser = argparse.ArgumentParser()
    add_knobs(parser)
    given = parser.parse_args(["--method", "mask", "--mask-frames", "0,2", "--mask-places", "3", "--mask-mode", "only"])
    assert methods_of(given) == [aim.Mask(mask_frames=(0, 2), mask_places=(3,), mask_mode="only")]


def test_what_was_dropped_before_the_llm_is_drawn_and_counted_as_dropped():
    model, tiny = TINY["llava_onevision"].model(), TINY["llava_onevision"]
    with aim.reduce(model, aim.Mask(mask_places=(0, 1), mask_frames=(3,))) as trace, torch.no_grad():
        model(**tiny.video_inputs())
    frames, times = np.full((4, 50, 50, 3), 255, np.uint8), np.arange(4.0)
    value = json.loads(json.dumps(payload(frames, times, trace)))
    packed = np.frombuffer(base64.b64decode(value["assignment"]["data"]), value["assignment"]["dtype"])
    assert packed.tolist() == trace.assignment.flatten().tolist() and trace.merged_tokens == 73
    for view in set(VIEWS) - {"PageRank"}:  # nothing was scored
        drawn = draw_frames(frames, times, trace, view)
        assert [caption.split(" · ")[1] for _, caption in drawn] == ["23 tokens", "25 tokens", "25 tokens", "0 tokens"]
        first = np.asarray(drawn[0][0]).astype(int)
        side = len(first) // 5
        assert not np.array_equal(first[5 : side - 5, 5 : side - 5], first[5 : side - 5, 2 * side + 5 : 3 * side - 5]), view
    evidence = torch.zeros(4, 25, dtype=torch.bool)
    evidence[0, :4] = True
    assert evidence_recall(trace, evidence) == [0.5] * 6
