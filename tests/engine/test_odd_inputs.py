"""Odd inputs of `aim.reduce`: one sentence where they cannot be served, and the stock answer where they can."""

import copy

import pytest
import torch

import aim
from aim.engine import seams
from aim.kernels.refusal import Refusal
from tests.tiny import AXES, FEWER, TINY, fingerprint

METHOD = aim.AIM(merge_ratio=0.5, l1=2, l2=5)


@pytest.fixture(scope="module", params=FEWER)
def family(request):
    return TINY[request.param]


@pytest.fixture(scope="module")
def model(family):
    return family.model()


def run(model, inputs, method=METHOD):
    with aim.reduce(model, method) as trace, torch.no_grad():
        model(**inputs)
    return trace


MASKS = {
    "empty": lambda ids: torch.ones(1, 0),
    "short": lambda ids: torch.ones(1, 5),
    "long": lambda ids: torch.ones(1, 500),
    "of one axis": lambda ids: torch.ones(ids.shape[1]),
    "of four axes": lambda ids: torch.zeros(1, 1, ids.shape[1], ids.shape[1]),
    "of more prompts": lambda ids: torch.ones(2, ids.shape[1]),
    "a list": lambda ids: ids.tolist(),
    "a dictionary": lambda ids: {"full_attention": None},
}
IDS = {
    "of one axis": lambda ids: ids[0],
    "without tokens": lambda ids: ids[:, :0],
    "without prompts": lambda ids: ids[:0],
    "a list": lambda ids: ids.tolist(),
}


@pytest.mark.parametrize("odd", MASKS)
def test_a_mask_of_another_shape_is_refused(family, model, odd):
    inputs = family.video_inputs()
    with pytest.raises(Refusal, match=r"attention_mask is .*; accepted: a tensor \[1, \d+\], as input_ids"):
        run(model, inputs | {"attention_mask": MASKS[odd](inputs["input_ids"])})


@pytest.mark.parametrize("odd", IDS)
def test_ids_of_another_shape_are_refused(family, model, odd):
    inputs = family.video_inputs()
    with pytest.raises(Refusal, match=r"input_ids is .*; accepted: a tensor \[prompts, tokens\] that is not empty"):
        run(model, inputs | {"input_ids": IDS[odd](inputs["input_ids"])})


@pytest.mark.parametrize("kind", [torch.bool, torch.float, torch.int32])
def test_a_mask_of_any_number_type_is_taken(family, model, kind):
    inputs = family.video_inputs()
    expected = run(model, inputs).tokens_per_layer
    assert run(model, inputs | {"attention_mask": inputs["attention_mask"].to(kind)}).tokens_per_layer == expected


@pytest.mark.parametrize("value", [0.5, float("nan")])
def test_a_mask_that_holds_other_values_than_0_and_1_is_refused(family, model, value):
    inputs = family.video_inputs()
    mask = inputs["attention_mask"].float()
    mask[0, 0] = value
    with pytest.raises(Refusal, match="attention_mask holds other values than 0 and 1; accepted"):
        run(model, inputs | {"attention_mask": mask})


@pytest.mark.parametrize("axes", [1, 3, 4])
@pytest.mark.parametrize("name", [name if name == "qwen2_5_vl" else pytest.param(name, marks=pytest.mark.whole) for name in sorted(AXES)])
def test_positions_that_tell_no_grid_are_refused_by_their_name(name, axes):
    model, inputs = TINY[name].model(), TINY[name].video_inputs()
    places = torch.arange(inputs["input_ids"].shape[1])[None]
    with pytest.raises(Refusal, match="Leave `position_ids` out"), aim.reduce(model, METHOD):
        model.generate(**inputs, position_ids=places if axes == 1 else places.expand(axes, 1, -1), max_new_tokens=2)


def test_guidance_that_runs_on_words_alone_is_refused_by_its_name(family, model):
    with pytest.raises(Refusal, match="leave out `guidance_scale`"), aim.reduce(model, METHOD), torch.no_grad():
        model.generate(**family.video_inputs(), max_new_tokens=3, guidance_scale=1.5)


@pytest.mark.parametrize("method", [METHOD, aim.Full(), aim.ToMe(merge_ratio=0.5)], ids=lambda method: method.name)
def test_another_attention_that_is_set_inside_the_block_is_refused(family, model, method):
    before = fingerprint(model)
    with pytest.raises(Refusal, match="set to 'eager' inside the block"), aim.reduce(model, method), torch.no_grad():
        seams.parts_of(model).language_model.set_attn_implementation("eager")
        model(**family.video_inputs())
    assert fingerprint(model)[2] == before[2]


def test_a_copy_that_would_stay_reduced_is_refused(family, model):
    with aim.reduce(model, METHOD), pytest.raises(Refusal, match="Copy or pickle it after the block"):
        copy.deepcopy(model)
    with torch.no_grad():
        assert copy.deepcopy(model)(**family.video_inputs()).logits.shape[1] == family.video_inputs()["input_ids"].shape[1]


def test_a_part_of_a_model_or_what_is_no_method_is_refused(family, model):
    for part in (model.model, seams.parts_of(model).language_model):
        with pytest.raises(Refusal, match="Pass that one|supported are"), aim.reduce(part, METHOD):
            pass
    for odd in (None, "aim", aim.AIM, [METHOD]):
        with pytest.raises(Refusal, match="method is .*; accepted: a method"), aim.reduce(model, odd):
            pass


def test_gradients_flow_to_every_weight_that_a_stock_forward_reaches(family):
    model, inputs = family.model(), family.video_inputs()

    def reached(method):
        model.zero_grad(set_to_none=True)
        with aim.reduce(model, method):
            model(**inputs).logits.sum().backward()
        return {name for name, weight in model.named_parameters() if weight.grad is not None}

    stock = model(**inputs).logits.sum()
    stock.backward()
    expected = {name for name, weight in model.named_parameters() if weight.grad is not None}
    assert reached(aim.Full()) == reached(METHOD) == expected


def test_a_hook_of_the_users_own_that_raises_leaves_the_block_ready_for_the_next_prompt(family, model):
    def fail(*_):
        raise KeyError("mine")

    inputs = family.video_inputs()
    expected = run(model, inputs).tokens_per_layer
    with aim.reduce(model, METHOD) as trace, torch.no_grad():
        hook = seams.parts_of(model).language_model.layers[3].register_forward_pre_hook(fail)
        with pytest.raises(KeyError):
            model(**inputs)
        hook.remove()
        model(**inputs)
        assert trace.tokens_per_layer == expected
