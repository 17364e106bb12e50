"""Cuts inside the LLM that average what they drop into what they keep: the states that go on, and the record of what went where."""

from dataclasses import dataclass

import pytest
import torch

import aim
from aim.kernels.absorbing import halve_into_nearest
from aim.kernels.importance import last_token_attention
from aim.kernels.schedule import drop_once
from aim.methods import Method
from aim.methods.cut import Kept, highest
from tests.tiny import FEWER, TINY

SEEN = []


@dataclass(frozen=True)
class Absorbing(Method):
    """Before layer 2 half of the tokens go into the others, and before layer 4 half of these are dropped."""

    def keep(self, num_layers):
        return [share * (1 if layer < 4 else 0.5) for layer, share in enumerate(drop_once(num_layers, 2, 1.0, 0.5))]

    def score(self, query, key, scaling, is_question):
        return last_token_attention(query, key, scaling)

    def cut(self, cut):
        chosen = highest(cut).chosen
        if cut.layer == 4:
            return Kept(chosen)
        states, into = halve_into_nearest(cut.hidden[cut.visual], chosen)
        SEEN.append((cut.hidden[cut.visual].clone(), chosen, states, into))
        return Kept(chosen, states, into)


@pytest.fixture(scope="module", params=FEWER)
def family(request):
    return TINY[request.param]


@pytest.fixture(scope="module")
def model(family):
    return family.model()


def run(model, inputs, **options):
    """The trace, and the states that entered each layer."""
    SEEN.clear()
    entered = []
    with torch.no_grad(), aim.reduce(model, Absorbing(), **options) as trace:
        layers = model.model.language_model.layers
        hooks = [
            layer.register_forward_pre_hook(lambda _layer, args, kwargs: entered.append(args[0].clone()), with_kwargs=True)
            for layer in layers
        ]
        try:
            model(**inputs)
        finally:
            for hook in hooks:
                hook.remove()
    return trace, entered


def entered_alone(model, inputs):
    """What enters layer 2 of the stock model, [n, C]."""
    entered = []
    hook = model.model.language_model.layers[2].register_forward_pre_hook(
        lambda _layer, args, _given: entered.append(args[0]), with_kwargs=True
    )
    with torch.no_grad():
        model(**inputs)
    hook.remove()
    return entered[0][0]


def test_the_kept_tokens_go_on_with_their_new_states_and_the_text_with_its_own(family, model):
    inputs = family.video_inputs()
    trace, entered = run(model, inputs)
    [(before, chosen, states, into)] = SEEN
    rows = [tuple(row.tolist()) for row in entered[2][0]]
    assert len(rows) == sum(trace.tokens_per_layer[2])
    new = [rows.index(tuple(state.tolist())) for state in states]
    assert new == sorted(new)
    full = {tuple(row.tolist()) for row in entered_alone(model, inputs)}
    assert all(row in full for number, row in enumerate(rows) if number not in new)
    assert trace.survivors[2].tolist() == chosen.tolist()
    halved = before[chosen].clone()
    for token in range(len(before)):  # one after the other, as the rule says
        if token not in chosen:
            halved[into[token]] = (halved[into[token]] + before[token]) / 2
    torch.testing.assert_close(states, halved)


def test_the_record_tells_what_went_into_what(family, model):
    trace, _ = run(model, family.video_inputs())
    [(_, chosen, _, into)] = SEEN
    assert list(trace.holders) == [2, 4]
    assert torch.equal(trace.held_in(0), torch.arange(trace.merged_tokens)) and torch.equal(trace.held_in(1), trace.held_in(0))
    assert torch.equal(trace.held_in(3), chosen[into])
    alive = set(trace.survivors[5].tolist())
    assert trace.held_in(5).tolist() == [token if token in alive else -1 for token in chosen[into].tolist()]
    assert trace.to_dict()["holders"] == {layer: held.tolist() for layer, held in trace.holders.items()}


def test_attention_is_shared_out_over_what_a_token_took_in(model, family):
    trace, _ = run(model, family.video_inputs(), attention=True)
    for layer in range(6):
        row, alive, held = trace.attention[0][layer], trace.survivors[layer], trace.held_in(layer)
        if row is None:
            continue
        looked = trace.attended(0, layer).flatten()
        for number, token in enumerate(alive.tolist()):
            mine = (held == token).nonzero().flatten()
            torch.testing.assert_close(looked[mine], (row[number].float() / len(mine)).expand(len(mine)))
        assert (looked[held < 0] == 0).all()


def test_a_padded_batch_absorbs_as_its_prompts_alone(family, model):
    batch, alone = family.batch_inputs()
    with torch.no_grad(), aim.reduce(model, Absorbing()) as together:
        logits = model(**batch).logits[:, -1]
    for number, inputs in enumerate(alone):
        with torch.no_grad(), aim.reduce(model, Absorbing()) as trace:
            own = model(**inputs).logits[0, -1]
        torch.testing.assert_close(logits[number], own, atol=1e-4, rtol=1e-4)
        record = together.prompts[number]
        assert {layer: held.tolist() for layer, held in record.holders.items()} == {
            layer: held.tolist() for layer, held in trace.holders.items()
        }


def test_a_method_that_only_drops_leaves_no_such_record(family, model):
    with torch.no_grad(), aim.reduce(model, aim.FastV(keep_ratio=0.5)) as trace:
        model(**family.video_inputs())
    assert trace.holders == {}
