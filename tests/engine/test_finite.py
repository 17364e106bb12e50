"""NaN and infinity in what tokens are merged or scored by: told by name at the end of the prefill, never passed on."""

import pytest
import torch

import aim
from aim.engine import seams
from aim.engine.finite import FiniteCheck, NotFinite
from tests.tiny import FEWER, IMAGE, TINY, VIDEO, clip_inputs, fingerprint, llava_onevision

METHODS = [aim.AIM(merge_ratio=0.5, l1=2, l2=5), aim.ToMe(merge_ratio=0.3), aim.PruMerge(keep_ratio=0.4), aim.Full()]
SCORERS = [aim.AIM(merge_ratio=0.5, l1=2, l2=5), aim.FastV(layer=2, keep_ratio=0.3)]
BAD = [float("nan"), float("inf"), -float("inf")]


@pytest.fixture(scope="module", params=FEWER)
def family(request):
    return TINY[request.param]


@pytest.fixture(scope="module")
def model(family):
    return family.model()


class Spoiled:
    """Inside the block one value of what the text model receives, or of what a projection gives, is another."""

    def __init__(self, model, value, token, projection=None):
        self.parts, self.value, self.token, self.projection = seams.parts_of(model), value, token, projection

    def __enter__(self):
        def embeddings(_module, args, kwargs):
            if table := kwargs.get(seams.DEEPSTACK_TABLE):  # the first of its levels is what the visual tokens are
                named = kwargs[seams.DEEPSTACK_TABLE_MASK][..., 0]
                rank, first = int(named[:-1].sum() + named[-1, : self.token].sum()), min(table)
                table[first] = table[first].clone()
                table[first][rank, 3] = self.value
                return args, kwargs
            kwargs["inputs_embeds"] = kwargs["inputs_embeds"].clone()
            kwargs["inputs_embeds"][-1, self.token, 3] = self.value
            return args, kwargs

        def projected(_module, _args, output):
            output = output.clone()
            output[-1, self.token, 3] = self.value
            return output

        if self.projection is None:
            self.hook = self.parts.language_model.register_forward_pre_hook(embeddings, with_kwargs=True)
        else:
            layer, name = self.projection
            self.hook = getattr(self.parts.layers[layer].self_attn, name).register_forward_hook(projected)

    def __exit__(self, *_):
        self.hook.remove()


def a_patch(inputs) -> int:
    """The place of one visual token in the last prompt."""
    ids = inputs["input_ids"][-1]
    return int(((ids == IMAGE) | (ids == VIDEO)).nonzero()[7])


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_one_bad_patch_is_told(family, model, method, value):
    inputs = family.video_inputs()
    with Spoiled(model, value, a_patch(inputs)), torch.no_grad():
        model(**inputs)  # stock notes things on the model by itself
        before = fingerprint(model)
        with pytest.raises(NotFinite, match="^The visual tokens .* not finite"), aim.reduce(model, method):
            model(**inputs)
        assert fingerprint(model) == before


@pytest.mark.parametrize(("projection", "named"), [("k_proj", "keys"), ("q_proj", "queries")])
@pytest.mark.parametrize("method", SCORERS, ids=lambda method: method.name)
def test_one_bad_key_or_query_of_a_scored_layer_is_told(family, model, method, projection, named):
    inputs = family.video_inputs()
    with (
        Spoiled(model, float("nan"), 5, (1, projection)),
        torch.no_grad(),
        pytest.raises(NotFinite, match=f"^The {named} of layer 1 hold"),
        aim.reduce(model, method),
    ):
        model.generate(**inputs, max_new_tokens=3)


def test_a_look_ahead_tells_the_layer_it_looked_into(family, model):
    method = aim.PyramidDrop(ratio=0.5)
    with torch.no_grad():
        with aim.reduce(model, method) as trace:
            model(**family.video_inputs())
        scored = next(layer for layer, score in enumerate(trace.scores) if score is not None) + 1
        scored += family.linear and scored % 2 == 0  # a layer without keys, so that it looked into the next one
        told = f"^The keys of layer {scored} hold"
        with Spoiled(model, float("nan"), 5, (scored, "k_proj")), pytest.raises(NotFinite, match=told), aim.reduce(model, method):
            model(**family.video_inputs())


def test_a_bad_patch_in_one_prompt_of_a_batch_is_told(family, model):
    batch, _ = family.batch_inputs()
    with (
        Spoiled(model, float("inf"), a_patch(batch)),
        torch.no_grad(),
        pytest.raises(NotFinite, match="visual tokens"),
        aim.reduce(model, METHODS[0]),
    ):
        model(**batch)


def test_the_next_clip_is_answered_as_ever():
    model, inputs = llava_onevision(), clip_inputs()
    with torch.no_grad(), aim.reduce(model, METHODS[0]):
        expected = model.generate(**inputs, max_new_tokens=4, do_sample=False)
        with Spoiled(model, float("nan"), 8), pytest.raises(NotFinite):
            model(**inputs)
        assert torch.equal(model.generate(**inputs, max_new_tokens=4, do_sample=False), expected)


def test_large_values_are_finite(family, model):
    inputs = family.video_inputs()
    with Spoiled(model, 1e15, a_patch(inputs)), torch.no_grad(), aim.reduce(model, METHODS[0]) as trace:
        model(**inputs)
    assert all(torch.isfinite(score).all() for score in trace.scores if score is not None)


def test_the_first_tensor_noted_is_the_one_that_is_told():
    check = FiniteCheck()
    check.note("The first", torch.ones(3, 2))
    check.note("The second", torch.tensor([1.0, float("nan")]))
    check.note("The third", torch.tensor([float("inf")]))
    with pytest.raises(ValueError, match="^The second hold"):
        check.settle()
