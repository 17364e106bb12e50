"""What a forward may be asked for under `aim.reduce`, on every family: it works as it does in stock, or is refused in words."""

from types import SimpleNamespace

import pytest
import torch

import aim
from aim.engine import seams
from tests.tiny import FEWER, KEEPS_EVERY_LOGIT, TINY, fingerprint, own_cache

METHOD = aim.AIM(merge_ratio=0.5, l1=2, l2=5)
LAYERS = 6


@pytest.fixture(scope="module", params=FEWER)
def family(request):
    return TINY[request.param]


@pytest.fixture(scope="module")
def model(family):
    model = family.model(layers=LAYERS)
    with torch.no_grad():
        model(**family.video_inputs())  # stock's first forward leaves hooks of its own on the tower
    return model


def refused(model, message, run, method=METHOD):
    """`run` is refused inside the block, and leaves nothing behind there."""
    before = fingerprint(model)
    with pytest.raises(ValueError, match=message), aim.reduce(model, method), torch.no_grad():
        run()
    after = fingerprint(model)
    # What stock notes on the model by itself, such as where positions went on, may have changed.
    assert [hooks for _, hooks, *_ in after[0]] == [hooks for _, hooks, *_ in before[0]] and after[1:] == before[1:]


@pytest.mark.parametrize("method", [METHOD, aim.Full()], ids=["aim", "full"])
def test_labels_are_refused_and_no_loss_is_made_up(family, model, method):
    inputs = family.video_inputs()
    refused(model, "`labels`.*Leave `labels` out", lambda: model(**inputs, labels=inputs["input_ids"]), method)


def test_no_labels_are_no_reason_to_refuse(family, model):
    with aim.reduce(model, METHOD), torch.no_grad():
        assert model(**family.video_inputs(), labels=None).loss is None


def test_a_loss_from_the_last_words_logits_equals_stock_where_nothing_is_dropped(family, model):
    inputs = family.video_inputs()
    labels = torch.full_like(inputs["input_ids"], -100)
    labels[:, -4:] = inputs["input_ids"][:, -4:]
    with torch.no_grad():
        stock = model(**inputs, labels=labels).loss
        with aim.reduce(model, aim.Full()):
            logits = model(**inputs).logits
    torch.testing.assert_close(torch.nn.functional.cross_entropy(logits[0, -5:-1], labels[0, -4:]), stock, atol=1e-5, rtol=1e-5)


def test_attention_maps_are_refused_by_argument(family, model):
    refused(model, "attention maps.*trace.scores", lambda: model(**family.video_inputs(), output_attentions=True))
    asked = {"output_attentions": True, "return_dict_in_generate": True, "max_new_tokens": 2}
    refused(model, "attention maps.*trace.scores", lambda: model.generate(**family.video_inputs(), **asked))


def test_attention_maps_are_refused_by_config_and_of_an_eager_model(family):
    model = family.model(layers=LAYERS)
    model.set_attn_implementation("eager")
    refused(model, "attention maps", lambda: model(**family.video_inputs(), output_attentions=True), aim.Full())
    model.config.text_config.output_attentions = True
    refused(model, "attention maps", lambda: model(**family.video_inputs()), aim.Full())


def test_hidden_states_are_as_long_as_their_layers_and_those_of_stock_under_full(family, model):
    inputs = family.video_inputs()
    with torch.no_grad():
        stock = model(**inputs, output_hidden_states=True).hidden_states
        with aim.reduce(model, aim.Full()):
            same = model(**inputs, output_hidden_states=True).hidden_states
        with aim.reduce(model, aim.FastV(layer=2, keep_ratio=0.5)) as trace:
            shorter = model(**inputs, output_hidden_states=True).hidden_states
    assert len(same) == len(stock) and all(map(torch.equal, same, stock))
    assert {states.shape[1] for states in shorter} == {sum(counts) for counts in trace.tokens_per_layer}


def test_places_of_logits_are_refused_and_a_number_of_them_is_not(family, model):
    inputs = family.video_inputs()
    refused(model, "`logits_to_keep` is a tensor", lambda: model(**inputs, logits_to_keep=torch.tensor([3, 5])))
    with aim.reduce(model, METHOD), torch.no_grad():
        every, last = model(**inputs).logits, model(**inputs, logits_to_keep=2).logits
        ignored = model.config.model_type in KEEPS_EVERY_LOGIT  # the stock model gives those of every token
        torch.testing.assert_close(last, every if ignored else every[:, -2:], atol=1e-5, rtol=1e-5)


def skip_where_stock_cannot(model):
    if model.config.model_type == "granite4_vision":
        pytest.skip("transformers itself looks for its features by another name to cut them into chunks, and fails.")


@pytest.mark.parametrize("size", [2, 16, 60])
def test_a_prefill_in_chunks_is_refused(family, model, size):
    skip_where_stock_cannot(model)
    refused(
        model,
        "`prefill_chunk_size",  # transformers says no itself where a model does not encode its clips before the prefill
        lambda: model.generate(**family.video_inputs(), prefill_chunk_size=size, max_new_tokens=2),
    )


def test_a_chunk_that_ends_behind_the_picture_is_refused(family, model):
    skip_where_stock_cannot(model)
    inputs = family.video_inputs(after=9)
    length = inputs["input_ids"].shape[1]
    refused(
        model,
        "brings 4 tokens more.*`prefill_chunk_size`|split the raw multimodal inputs",
        lambda: model.generate(**inputs, prefill_chunk_size=length - 4),
    )


def test_several_tokens_at_once_after_the_prompt_are_refused(family, model):
    def run():
        cache = model(**family.video_inputs(), **own_cache(model)).past_key_values
        model(input_ids=torch.tensor([[7, 8]]), past_key_values=cache)

    refused(model, "brings 2 tokens more.*assistance", run)


def test_gradient_checkpointing_is_refused_only_while_training(family):
    model = family.model(layers=LAYERS)
    model.gradient_checkpointing_enable()
    with aim.reduce(model, METHOD), torch.no_grad():
        model(**family.video_inputs())
    model.train()
    refused(model, "gradient checkpointing", lambda: model(**family.video_inputs()))


def test_gradients_reach_the_weights_through_the_tokens_that_are_left(family):
    model = family.model(layers=LAYERS)
    with aim.reduce(model, METHOD):
        model(**family.video_inputs()).logits[0, -1].sum().backward()
    layers = seams.parts_of(model).language_model.layers
    first = [layer.self_attn.k_proj if hasattr(layer, "self_attn") else layer.linear_attn.in_proj_qkv for layer in layers]
    assert all(projection.weight.grad.abs().sum() > 0 for projection in first)


def compiled(model):
    return torch.compile(model, backend="eager")


def compiled_in_place(model):
    model.compile(backend="eager")
    return model


def with_a_compiled_forward(model):
    model.model.forward = torch.compile(model.model.forward, backend="eager")
    return model


def with_a_compiled_text_model(model):
    name = "text_model" if hasattr(model.model, "text_model") else "language_model"
    setattr(model.model, name, torch.compile(getattr(model.model, name), backend="eager"))
    return model


def with_a_compiled_layer(model):
    seams.parts_of(model).language_model.layers[2].compile(backend="eager")
    return model


@pytest.mark.parametrize("make", [compiled, compiled_in_place, with_a_compiled_forward, with_a_compiled_text_model, with_a_compiled_layer])
def test_a_compiled_model_is_refused(family, make):
    model = make(family.model(layers=LAYERS))
    with pytest.raises(ValueError, match="compiled by torch.compile.*Pass that one"), aim.reduce(model, METHOD):
        pytest.fail("the block must not begin")


def test_a_compiled_tower_is_left_to_work_unless_the_method_watches_it():
    family = TINY["llava_onevision"]
    model = family.model(layers=LAYERS)
    inputs = family.video_inputs()
    with torch.no_grad(), aim.reduce(model, METHOD):
        expected = model(**inputs).logits
    model.model.vision_tower.compile(backend="eager")
    with torch.no_grad(), aim.reduce(model, METHOD):
        torch.testing.assert_close(model(**inputs).logits, expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="A part of the model is compiled"), aim.reduce(model, aim.PruMerge(keep_ratio=0.4)):
        pytest.fail("the block must not begin")


@pytest.mark.parametrize("wrap", [torch.nn.DataParallel, lambda model: SimpleNamespace(model=model)], ids=["parallel", "object"])
def test_a_model_in_another_wrapping_is_refused(model, wrap):
    with pytest.raises(ValueError, match="is a [A-Za-z]+; .*Pass the model inside"), aim.reduce(wrap(model), METHOD):
        pytest.fail("the block must not begin")


def test_the_text_model_called_by_itself_is_refused(model):
    embeddings = torch.zeros(1, 5, 32)
    refused(model, "called by itself", lambda: seams.parts_of(model).language_model(inputs_embeds=embeddings))
