"""The rival methods inside the engine, against a naive reading of their papers on the attention maps of an eager model."""

import pytest
import torch

import aim
from tests.tiny import clip_inputs, llava_onevision

FIRST, PATCHES = 3, 100  # of `clip_inputs()`: three words, then four frames of 5 x 5 patches


@pytest.fixture(scope="module")
def eager():
    """Attention maps [heads, n, n] of every layer on the whole prompt, as an eager model gives them."""
    model = llava_onevision()
    model.set_attn_implementation("eager")
    with torch.no_grad():
        return [attention[0] for attention in model(**clip_inputs(), output_attentions=True).attentions]


def run(method):
    """The trace of a stock forward under a method, and its logits."""
    model = llava_onevision()
    with torch.no_grad(), aim.reduce(model, method) as trace:
        logits = model(**clip_inputs()).logits
    return trace, logits


def best(scores, count):
    """The places of the highest scores, ascending; equal ones fall to the earlier place."""
    ranked = sorted(range(len(scores)), key=lambda place: (-float(scores[place]), place))
    return sorted(ranked[:count])


@pytest.mark.parametrize("layer", [1, 2, 4])
def test_fastv_keeps_what_the_last_token_attends_to_in_the_layer_before_its_cut(eager, layer):
    trace, _ = run(aim.FastV(layer=layer, keep_ratio=0.3))
    paid = eager[layer - 1].mean(dim=0)[-1, FIRST : FIRST + PATCHES]
    assert trace.survivors[layer].tolist() == best(paid, 30)
    assert [visual for visual, _ in trace.tokens_per_layer] == [100] * layer + [30] * (6 - layer)
    assert trace.survivors[-1].tolist() == trace.survivors[layer].tolist()
    torch.testing.assert_close(trace.scores[layer - 1], paid, rtol=1e-4, atol=1e-7)


def test_pyramiddrop_keeps_what_the_coming_layer_would_attend_to(eager):
    stage = 2
    trace, _ = run(aim.PyramidDrop(ratio=0.4, stages=(stage, 4)))
    paid = eager[stage].mean(dim=0)[-1, FIRST : FIRST + PATCHES]  # of the layer behind the cut, on all that was there before it
    assert trace.survivors[stage].tolist() == best(paid, 40)
    assert [visual for visual, _ in trace.tokens_per_layer] == [100, 100, 40, 40, 16, 16]


def test_pyramiddrop_numbers_what_is_left_anew_and_decodes_from_there():
    model, method = llava_onevision(), aim.PyramidDrop(ratio=0.5, stages=(2, 4))
    seen = []
    hook = model.model.language_model.rotary_emb.register_forward_pre_hook(lambda module, args: seen.append(args[1].flatten().tolist()))
    try:
        with torch.no_grad(), aim.reduce(model, method):
            model.generate(**clip_inputs(), max_new_tokens=3, do_sample=False)
    finally:
        hook.remove()
    assert seen[:3] == [list(range(110)), list(range(60)), list(range(35))]
    assert seen[3:] == [[110], [60], [35], [111], [61], [36]]  # each layer counts on from its own


def test_vtw_equals_dropping_the_visual_tokens_from_the_hidden_states_of_a_stock_model():
    layer, (_, logits) = 3, run(aim.VTW(layer=3))
    model, inputs = llava_onevision(), clip_inputs()
    text = [*range(FIRST), *range(FIRST + PATCHES, 110)]

    def withdraw(module, args, kwargs):
        tables = tuple(table[:, text] for table in kwargs["position_embeddings"])
        kwargs["position_embeddings"] = tables
        hidden = args[0]
        return (hidden[:, text] if hidden.shape[1] == 110 else hidden, *args[1:]), {**kwargs, "attention_mask": None}

    hooks = []
    for index in range(layer, 6):
        # The first of them cuts the sequence, the others are given tables for all of it and cut those.
        hooks.append(model.model.language_model.layers[index].register_forward_pre_hook(withdraw, with_kwargs=True))
    with torch.no_grad():
        expected = model(**inputs, use_cache=False).logits
    for hook in hooks:
        hook.remove()
    torch.testing.assert_close(logits[0, -7:], expected[0, -7:], atol=1e-5, rtol=1e-5)


def test_random_draws_the_same_lots_again_and_others_with_another_seed():
    one, again, other = (run(aim.Random(layer=2, keep_ratio=0.3, seed=seed))[0].survivors[2].tolist() for seed in (0, 0, 1))
    assert one == again != other
    assert len(one) == 30


def test_prumerge_keeps_the_patches_the_towers_last_layer_attends_to():
    model, inputs = llava_onevision(), clip_inputs()
    trace, _ = run(aim.PruMerge(keep_ratio=0.2))
    tower = model.model.vision_tower
    tower.set_attn_implementation("eager")
    with torch.no_grad():
        maps = tower(inputs["pixel_values_videos"][0], output_attentions=True).attentions[-1].double()  # [F, heads, 100, 100]
    received = maps.mean(dim=(1, 2)).view(-1, 1, 10, 10)
    pooled = torch.nn.functional.interpolate(received.float(), size=(5, 5), mode="bilinear")[:, 0].flatten(1)
    for frame, scores in enumerate(pooled):
        mine = [anchor - 25 * frame for anchor in trace.anchors.tolist() if 25 * frame <= anchor < 25 * (frame + 1)]
        chosen = best(scores, 4)  # the fifth token of the frame holds the rest
        assert len(mine) == 5 and set(chosen) <= set(mine)
