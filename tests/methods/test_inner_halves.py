"""What FlashVID and HoliTom drop and merge inside the LLM is what their official code does on the same attention and states."""

import pytest
import torch

import aim
from aim.kernels.cost import last_token_flops
from aim.methods.cut import Cut
from aim.planning.plan import look_up, plan
from tests.official import input_of, llm, rivals
from tests.tiny import clip_inputs, llava_onevision

SEVEN_B = "llava-onevision-qwen2-7b"


def inner(method):
    return {name: case for name, case in rivals(method).items() if case["stable"] and case["variant"] == "inner"}


FLASHVID, HOLITOM = inner("flashvid"), inner("holitom")


def cut_of(method, name, target):
    """What a method's cut keeps of the official inputs, and those inputs."""
    layer = llm(*input_of(name)[:2])
    visual, asked = torch.arange(*layer["visual"]), layer["is_question"].nonzero().flatten()
    score = method.score(layer["query"], layer["key"], layer["scaling"], layer["is_question"])
    return method.cut(Cut(18, target, 28, [len(visual)], layer["hidden"], visual, asked, score, visual, torch.nn.Identity())), layer[
        "hidden"
    ][visual]


@pytest.mark.parametrize("name", FLASHVID)
def test_flashvid_keeps_what_the_official_code_keeps(name):
    tokens, ratio = FLASHVID[name]["counts"], input_of(name)[2]
    method = aim.FlashVID(inner_layer=18, inner_keep_ratio=ratio)
    visual = len(llm(*input_of(name)[:2])["hidden"]) - 16
    kept, _ = cut_of(method, name, method.kept(28, visual)[18])
    assert kept.chosen.tolist() == FLASHVID[name]["kept"].tolist() and len(kept.chosen) == sum(tokens)
    assert kept.hidden is None and kept.into is None


def test_flashvid_cuts_once_and_rounds_up():
    assert aim.FlashVID().for_depth(28).inner_layer == 20 and aim.FlashVID().for_depth(12).inner_layer == 9
    assert aim.FlashVID(inner_layer=2).kept(4, 101) == [101, 101, 31, 31]
    assert aim.FlashVID(keep_ratio=1).kept(28, 101) == aim.FlashVID(inner_keep_ratio=1).kept(28, 101) == [101] * 28
    planned = plan(SEVEN_B, 32, 100, aim.FlashVID())
    entering = 32 * 62
    assert planned.tokens_per_layer == [(entering, 100)] * 20 + [(596, 100)] * 8
    assert planned.importance_tflops == last_token_flops(look_up(SEVEN_B).shape, [entering + 100]) / 1e12
    model = llava_onevision()
    with torch.no_grad(), aim.reduce(model, aim.FlashVID(keep_ratio=0.4, inner_layer=3)) as trace:
        model(**clip_inputs())
    entered = trace.merged_tokens
    assert [visual for visual, _ in trace.tokens_per_layer] == [entered] * 3 + [-(-3 * entered // 10)] * 3


@pytest.mark.parametrize("name", HOLITOM)
def test_holitom_keeps_and_merges_what_the_official_code_does(name):
    case, ratio = HOLITOM[name], input_of(name)[2]
    method = aim.HoliTom(inner_layer=18, inner_keep_ratio=ratio)
    kept, states = cut_of(method, name, method.kept(28, case["tokens_in"])[18])
    assert kept.chosen.tolist() == case["kept"].tolist()
    torch.testing.assert_close(kept.hidden, case["weights"] @ states, atol=1e-4, rtol=0)
    assert torch.equal(kept.into, (case["weights"] != 0).int().argmax(dim=0))


def test_holitom_cuts_once_and_rounds_halves_to_even():
    assert aim.HoliTom().for_depth(28).inner_layer == 18 and aim.HoliTom().for_depth(12).inner_layer == 8
    assert aim.HoliTom(inner_layer=2).kept(4, 101) == [101, 101, 50, 50] and aim.HoliTom(inner_layer=2).kept(4, 103)[2] == 52
    assert aim.HoliTom(keep_ratio=1).kept(28, 101) == aim.HoliTom(inner_keep_ratio=1).kept(28, 101) == [101] * 28
    assert aim.HoliTom(inner_layer=1, inner_keep_ratio=0.01).kept(2, 9) == [9, 1]
    planned = plan(SEVEN_B, 32, 100, aim.HoliTom())
    assert planned.tokens_per_layer == [(640, 100)] * 18 + [(320, 100)] * 10
    shape = look_up(SEVEN_B).shape
    assert planned.importance_tflops == (last_token_flops(shape, [740]) + 740 * (5 + 2 * 370) * shape.hidden_size) / 1e12
    model = llava_onevision()
    with torch.no_grad(), aim.reduce(model, aim.HoliTom(keep_ratio=0.4, inner_layer=3)) as trace:
        model(**clip_inputs())
    assert list(trace.holders) == [3] and (trace.holders[3] >= 0).all()
    assert sorted(set(trace.holders[3].tolist())) == trace.survivors[3].tolist()
