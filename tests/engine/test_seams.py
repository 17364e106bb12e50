"""Each internal of transformers that the engine stands on, alone; the message of a failed check says what broke when it moved."""

import pytest
import torch
from transformers import DynamicCache
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from aim.engine import attention, caches, features, seams
from tests.tiny import AXES, EACH, KEEPS_EVERY_LOGIT, TINY, own_cache

LAYERS = 3


@pytest.fixture(scope="module", params=EACH)
def family(request):
    return TINY[request.param]


@pytest.fixture(scope="module")
def model(family):
    return family.model(layers=LAYERS)


@pytest.fixture(scope="module")
def parts(model):
    return seams.parts_of(model)


def seen_by(module, run) -> list[tuple[tuple, dict]]:
    """What a module's forward is given while `run` is at work."""
    calls = []
    hook = module.register_forward_pre_hook(lambda _module, args, kwargs: calls.append((args, dict(kwargs))), with_kwargs=True)
    try:
        with torch.no_grad():
            run()
    finally:
        hook.remove()
    return calls


def test_the_attention_registry_hands_our_function_to_the_text_layers(parts, family, monkeypatch):
    calls = []

    def watched(*args, **kwargs):
        calls.append(kwargs)
        return attention.attention(*args, **kwargs)

    monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS._local_mapping, attention.ATTENTION, watched)
    with seams.attending(parts), torch.no_grad():
        parts.whole(**family.video_inputs())
    attending = sum(map(seams.attends, parts.layers))
    assert len(calls) == attending > 0, (
        "AttentionInterface.register: the text layers no longer run our attention, so no token is ever scored."
    )
    assert all("scaling" in given for given in calls), "The layers no longer pass `scaling`, so scores lack the factor on the logits."


def test_the_mask_registry_asks_our_function(parts, family, monkeypatch):
    calls = []
    monkeypatch.setitem(ALL_MASK_ATTENTION_FUNCTIONS._local_mapping, attention.ATTENTION, lambda *_, **__: calls.append(1))
    with seams.attending(parts):
        layers = seen_by(parts.layers[0], lambda: parts.whole(**family.video_inputs()))
    assert calls, "AttentionMaskInterface.register: the masks of our attention are made elsewhere, and may wait for the GPU."
    assert layers[0][1][seams.MASK] is None, "A mask of None no longer reaches the layers, so SDPA loses its fast causal kernel."


def test_our_attention_is_sdpa_to_the_last_bit(parts, family):
    # Masks that let the tokens of a picture see one another come from our hooks, and a model that is not told of pictures makes none.
    inputs = {name: value for name, value in family.video_inputs().items() if not (family.windows and name == family.token_types)}
    with torch.no_grad():
        stock = parts.whole(**inputs).logits
        with seams.attending(parts):
            ours = parts.whole(**inputs).logits
    assert torch.equal(stock, ours), "sdpa_attention_forward: attention under `aim.reduce` is no longer what the stock model computes."


def test_only_the_text_model_changes_its_attention_and_gets_it_back(parts):
    tower = parts.whole.config.vision_config
    before = parts.attention, tower._attn_implementation
    with seams.attending(parts):
        assert parts.attention == attention.ATTENTION, "set_attn_implementation: the text model does not take our attention."
        assert tower._attn_implementation == before[1], "set_attn_implementation: the vision tower changes with the text model."
    assert (parts.attention, tower._attn_implementation) == before, "set_attn_implementation: what the model had is not put back."


def test_the_core_sees_the_ids_and_generate_its_features_and_positions(parts, family):
    inputs = family.video_inputs()
    [(args, given)] = seen_by(parts.core, lambda: parts.whole(**inputs))
    given = seams.named(parts.core, args, given)
    assert torch.equal(given[seams.IDS], inputs["input_ids"]), "The core no longer sees `input_ids`: pictures are not found."
    assert given.get(seams.POSITIONS) is None, "A plain forward now brings positions, so decoding loops are taken for `generate`."
    calls = seen_by(parts.core, lambda: parts.whole.generate(**inputs, max_new_tokens=3, do_sample=False))
    assert len(calls) == 3, "`generate` no longer runs one forward a token."
    made = [kind for kind, name in seams.PIXELS.items() if name in inputs]
    if features.takes_features(parts.whole):
        assert list(calls[0][1][seams.FEATURES]) == made, "`generate` no longer hands on features: methods that watch the tower lose them."
    else:
        assert all(seams.PIXELS[kind] in calls[0][1] for kind in made), "`generate` no longer hands on pixels, nor features in their place."
    told = [given.get(seams.POSITIONS) is not None for _, given in calls]
    counts = parts.whole.config.model_type == "exaone4_5"  # the model counts by itself, on from what the cache holds
    assert told == [not counts] * 3, "`generate` no longer says where positions go on, or does so for a model that counted by itself."


def test_features_made_before_are_those_that_the_model_makes_of_pixels(parts, family):
    inputs = family.video_inputs()
    kind = next(kind for kind, name in seams.PIXELS.items() if name in inputs)
    others = {name: value for name, value in inputs.items() if name != seams.PIXELS[kind]}
    made = []

    def watched(*args, **kwargs):
        made.append(encode(*args, **kwargs))
        return made[-1]

    name = f"get_{kind}_features" if hasattr(parts.core, f"get_{kind}_features") else "get_image_features"
    encode = getattr(parts.core, name)
    with torch.no_grad():
        setattr(parts.core, name, watched)
        stock = parts.whole(**inputs).logits
        delattr(parts.core, name)
        with features.taking_features(parts.core):
            given = features.feature_inputs(parts.whole, {kind: made[0]})
            assert features.features_in(given) == {kind: made[0]}
            again = parts.whole(**others, **given).logits
    assert len(made) == 1, "get_image_features or get_video_features: a forward no longer encodes its pixels by them."
    assert torch.equal(stock, again), "A forward no longer takes features in place of pixels: the tower would run at each question."
    assert name not in vars(parts.core)


def test_an_argument_that_transformers_has_renamed_is_missed(parts, monkeypatch):
    assert seams.missing(parts) == [], "An argument under which the engine finds tensors has another name."
    monkeypatch.setattr(seams, "CACHE", "kv")
    assert set(seams.missing(parts)) == {"kv"}


def test_the_text_model_receives_embeddings_and_gives_hidden_states_and_cache(parts, family):
    inputs = family.video_inputs()
    outputs = []
    hook = parts.language_model.register_forward_hook(lambda _module, _args, output: outputs.append(output))
    try:
        [(_, given)] = seen_by(parts.language_model, lambda: parts.whole(**inputs, **own_cache(parts.whole), use_cache=True))
    finally:
        hook.remove()
    length = inputs["input_ids"].shape[1]
    assert given[seams.EMBEDDINGS].shape[:2] == (1, length), "The text model no longer receives `inputs_embeds`: nothing can be merged."
    assert {seams.MASK, seams.POSITIONS, seams.CACHE} <= set(given), "The text model's arguments have other names: reduced ones are lost."
    assert seams.last_hidden(outputs[0]).shape[:2] == (1, length), "The text model's output no longer tells its hidden states."
    assert caches.grows(seams.cache_of(outputs[0])), "The text model makes no growing cache, or does not tell it: no decoding goes on."


def test_the_layers_take_hidden_states_tables_mask_and_cache(parts, family):
    calls = seen_by(parts.layers[1], lambda: parts.whole(**family.video_inputs(), use_cache=True))
    hidden, _, given = seams.take_hidden(*calls[0])
    length = family.video_inputs()["input_ids"].shape[1]
    assert hidden.shape == (1, length, 32), "A layer's hidden states are not its first argument: pruning would cut something else."
    cosines, sines = given[seams.TABLES]
    turned = int(8 * parts.text_config.rope_parameters.get("partial_rotary_factor", 1))  # of a head's 8 numbers
    assert cosines.shape[-2:] == sines.shape[-2:] == (length, turned), (
        "`position_embeddings` are no [..., n, d]: they cannot be cut to match."
    )
    assert {seams.MASK, seams.CACHE} <= set(given), "A layer's mask or cache has another name: padding and decoding masks are lost."


def test_the_rotary_embedding_makes_the_tables_the_layers_get(parts, family):
    calls = seen_by(parts.rotary, lambda: parts.whole(**family.video_inputs()))
    args, named = calls[0]
    hidden, positions = [*args, *named.values()][:2]
    for number, layer in enumerate(parts.layers):
        [(_, given)] = seen_by(layer, lambda: parts.whole(**family.video_inputs()))
        again = parts.tables(number, hidden, positions)
        assert all(map(torch.equal, again, given[seams.TABLES])), "rotary_emb(hidden, positions) is not what layers get: no renumbering."


def test_a_further_argument_of_a_layer_reaches_the_attention_and_a_look_ahead_sees_the_same(parts, family):
    seen, ahead = [], []
    tables = {}

    def add(module, args, kwargs):
        hidden, _, given = seams.take_hidden(args, kwargs)
        seams.look_ahead(module, hidden, given[seams.TABLES], lambda *values: ahead.append(values))
        tables["given"], tables["hidden"] = given[seams.TABLES], hidden
        return args, {**kwargs, "observe": lambda *values: seen.append(values)}

    hook = parts.layers[1].register_forward_pre_hook(add, with_kwargs=True)
    try:
        with seams.attending(parts), torch.no_grad():
            parts.whole(**family.video_inputs())
    finally:
        hook.remove()
    assert len(seen) == 1, "A layer no longer passes further arguments on to its attention function: nothing can be scored."
    assert len(ahead) == 1 and torch.equal(ahead[0][0], seen[0][0]) and torch.equal(ahead[0][1], seen[0][1]), (
        "input_layernorm or self_attn: a look-ahead no longer sees the queries and keys that the layer then works with."
    )
    query, key, scaling = seen[0]
    layer = parts.layers[1]
    heads = 2 * layer.self_attn.num_key_value_groups
    assert query.shape[:2] == (1, heads) and key.shape[:2] == (1, 2), "Queries and keys are no longer [B, heads, n, d]."
    assert scaling == pytest.approx(layer.self_attn.scaling), "`scaling` is no longer the factor on the logits."
    normed, before = getattr(layer.self_attn, "k_norm", torch.nn.Identity()), getattr(layer, "input_layernorm", torch.nn.Identity())
    raw = normed(layer.self_attn.k_proj(before(tables["hidden"])).unflatten(-1, (2, 8))).transpose(1, 2)
    cosines, sines = (table.reshape(-1, *table.shape[-2:])[:1] for table in tables["given"])
    raw, rest = raw[..., : cosines.shape[-1]], raw[..., cosines.shape[-1] :]
    first, second = raw.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    if parts.text_config.model_type == "glm4v_text":  # it turns neighbours together, and not the two halves of a head
        turned = torch.stack([-raw[..., 1::2], raw[..., 0::2]], dim=-1).flatten(-2)
    rotated = torch.cat([raw * cosines + turned * sines, rest], dim=-1)
    # Text in front has one position on all axes, so that every family rotates it alike.
    assert torch.allclose(rotated[:, :, :3], key[:, :, :3], atol=1e-5), "Keys come before the rotary embedding: scores lack positions."


def test_the_final_norm_makes_the_last_hidden_state(parts, family):
    outputs = []
    [(given, _)] = seen_by(parts.language_model.norm, lambda: outputs.append(parts.core(**family.video_inputs()).last_hidden_state))
    with torch.no_grad():
        normed = seams.final_norm(parts, given[0][0])
    assert torch.equal(normed, outputs[0][0]), "language_model.norm is not the last norm: DART would compare other states."


def test_the_layers_of_a_cache_may_differ_in_length():
    cache = DynamicCache()
    for layer, length in enumerate((5, 3)):
        cache.update(torch.zeros(1, 2, length, 8), torch.zeros(1, 2, length, 8), layer)
    assert caches.grows(cache), "DynamicCache is another class: every run is refused."
    assert caches.held_by_layer(cache, [0, 0]) == [5, 3] == [caches.tokens_in(cache, 0), caches.tokens_in(cache, 1)], (
        "DynamicCache.layers[i].get_seq_length: layers of different length are not told apart, and decoding is masked wrongly."
    )
    assert caches.cache_bytes(cache) == 2 * 8 * 2 * 8 * 4, "DynamicCache.layers[i].keys and values: the bytes of the cache are wrong."


def test_every_layer_of_tower_and_text_model_is_found(parts, family):
    found = {id(layer) for layer in seams.transformer_layers(parts.whole)}
    assert {id(layer) for layer in parts.layers} <= found, "GradientCheckpointingLayer: Stop no longer ends the text model."
    config = parts.whole.config.vision_config
    depth = getattr(config, "num_hidden_layers", None) or config.depth
    assert len(found) == LAYERS + depth, "GradientCheckpointingLayer: Stop no longer ends the vision tower between its layers."


def test_the_arguments_that_are_refused_have_these_names(parts):
    import inspect

    names = set(inspect.signature(parts.whole.forward).parameters)
    ignored = {seams.LOGITS_TO_KEEP} if parts.whole.config.model_type in KEEPS_EVERY_LOGIT else set()
    assert {seams.LABELS, seams.LOGITS_TO_KEEP} - ignored <= names, "The arguments have other names: labels would fail inside the loss."
    given = seams.named(parts.whole, ("ids",), {"labels": None})
    assert given == {seams.IDS: "ids", "labels": None}, "The forward's first argument is no longer `input_ids`."
    assert set(seams.PIXELS.values()) & names, "Pixels have other names: methods that watch the tower take features for another kind."


def test_attention_maps_are_asked_for_by_argument_or_config(parts, family):
    assert hasattr(parts.text_config, seams.ATTENTION_MAPS), "The config's `output_attentions` has another name: no refusal."
    assert not seams.wants_attention_maps(parts.text_config, {}) and seams.wants_attention_maps(
        parts.text_config, {"output_attentions": True}
    )
    [(_, given)] = seen_by(parts.core, lambda: parts.whole(**family.video_inputs(), output_attentions=True))
    assert seams.wants_attention_maps(parts.text_config, given), "The core no longer sees `output_attentions`: empty maps, no word."


def test_layers_that_run_again_in_the_backward_pass_are_known(family):
    parts = seams.parts_of(family.model(layers=LAYERS))
    assert not any(map(seams.runs_twice, parts.layers))
    parts.whole.train()
    parts.whole.gradient_checkpointing_enable()
    assert all(map(seams.runs_twice, parts.layers)), "gradient_checkpointing: layers that run again are hooked twice, without a word."


@pytest.mark.parametrize("name", sorted(AXES))
def test_positions_by_axes_are_the_last_three_rows(name):
    model, inputs = TINY[name].model(layers=LAYERS), TINY[name].video_inputs()
    text_model = seams.parts_of(model).language_model
    [(_, plain)] = seen_by(text_model, lambda: model(**inputs))
    [(_, generated), *_] = seen_by(text_model, lambda: model.generate(**inputs, max_new_tokens=1))
    assert torch.equal(plain[seams.POSITIONS], generated[seams.POSITIONS][-3:]), "M-RoPE's axes are no longer the last three rows."
