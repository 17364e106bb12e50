"""Text models whose layers look back on a window only: stock where nothing is dropped, masking where something is."""

import pytest
import torch

import aim
from aim.kernels.grid import Grid
from aim.kernels.merging import merge_clip
from aim.planning.plan import plan_for
from tests.tiny import (
    IMAGE,
    TINY,
    exaone4_5,
    fingerprint,
    gemma3,
    gemma4,
    internvl,
    llava,
    llava_onevision,
    qwen2_5_vl,
    qwen2_vl,
    step3p7,
    takes_features,
)

LAYERS, WINDOW, SAID = 6, 16, 24
OLDER = {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 4}
BY_LAYER = {"head_dim": 8, "use_sliding_window": True, "sliding_window": 40, "layer_types": ["full_attention", "sliding_attention"] * 3}
WINDOWED = {
    "Mistral": lambda: llava(model_type="mistral", sliding_window=WINDOW),
    "Phi-3": lambda: llava(model_type="phi3", sliding_window=WINDOW),
    "Qwen2 from a layer on": lambda: llava_onevision(**OLDER),
    "Qwen3 by layer": lambda: internvl(model_type="qwen3", **BY_LAYER),
    "Gemma 3": lambda: gemma3(sliding_window=20),
    "Gemma 4": lambda: gemma4(sliding_window=20),
    "EXAONE 4.5": lambda: exaone4_5(sliding_window=20),
    "Step 3.7": lambda: step3p7(sliding_window=20),
    "Qwen2-VL": lambda: qwen2_vl(**OLDER),
    "Qwen2.5-VL": lambda: qwen2_5_vl(**OLDER),
}
YOUNG = {"EXAONE 4.5": "exaone4_5", "Step 3.7": "step3p7"}  # for which this release of transformers may be too old
WINDOWED = {name: make for name, make in WINDOWED.items() if YOUNG.get(name, "llava") in TINY}
PRUNERS = [aim.AIM(merge_ratio=1.0, l1=1, l2=5, positions="original"), aim.FastV(layer=2, keep_ratio=0.4), aim.VTW(layer=3)]


# By default one model that has windows in every layer, and one that has them in some, and whose pictures are seen in both directions.
DEFAULT = {"Mistral", "Gemma 3"}
# CI adds those whose windows are told in another way; these two have them as another one does.
LIKE_OTHERS = {"Phi-3", "Qwen2-VL"}
MARKS = {name: pytest.mark.every if name in LIKE_OTHERS else pytest.mark.whole for name in WINDOWED if name not in DEFAULT}


@pytest.fixture(scope="module", params=[pytest.param(name, marks=MARKS.get(name, ())) for name in WINDOWED])
def model(request):
    return WINDOWED[request.param]()


def tiny(model):
    return TINY[model.config.model_type]


def windows(model) -> list[int | None]:
    """The window of each layer, as its own attention says or else the config."""
    text = model.config.text_config
    attentions = [layer.self_attn for layer in layers_of(model)]
    return [getattr(one, "sliding_window", text.sliding_window) if getattr(one, "is_sliding", True) else None for one in attentions]


def layers_of(model):
    return model.model.language_model.layers


def generate(model, inputs, **options):
    with torch.no_grad():
        return model.generate(**inputs, **{"max_new_tokens": SAID, "do_sample": False, **options})


@pytest.mark.parametrize("kind", ["video", "images"])
def test_reducing_nothing_is_the_stock_model_token_for_token(model, kind):
    inputs = tiny(model).video_inputs() if kind == "video" else tiny(model).image_inputs()
    stock, before = generate(model, inputs), fingerprint(model)
    with aim.reduce(model, aim.Full()):
        assert torch.equal(generate(model, inputs), stock)
    assert fingerprint(model) == before
    assert min(window for window in windows(model) if window) < inputs["input_ids"].shape[1]


def test_a_padded_batch_is_the_stock_models(model):
    batch, _ = tiny(model).batch_inputs()
    stock = generate(model, batch)
    with aim.reduce(model, aim.Full()):
        assert torch.equal(generate(model, batch), stock)


@pytest.mark.parametrize("method", PRUNERS, ids=lambda method: method.name)
def test_a_prompt_and_its_answer_are_those_of_masks_with_the_same_window(model, method):
    inputs = tiny(model).video_inputs()
    length = inputs["input_ids"].shape[1]
    with aim.reduce(model, method) as trace:
        output = generate(model, inputs, return_dict_in_generate=True, output_logits=True, suppress_tokens=[IMAGE, IMAGE + 1])
    assert trace.tokens_per_layer[-1][0] < trace.tokens_per_layer[0][0]
    for held, (visual, text), window in zip(trace.key_value_lengths, trace.tokens_per_layer, windows(model), strict=True):
        assert held == min(visual + text, (window or length) - 1) if window else visual + text
    hidden = masked_logits(model, inputs, output.sequences, trace)[0, length - 1 : -1]
    torch.testing.assert_close(torch.stack(output.logits)[:, 0], hidden, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", [aim.Full(), *PRUNERS], ids=lambda method: method.name)
def test_the_cache_takes_the_bytes_that_are_planned(model, method):
    inputs = tiny(model).video_inputs()
    with aim.reduce(model, method) as trace, torch.no_grad():
        model(**inputs, use_cache=True)
    planned = plan_for(model.config, 4, trace.tokens_per_layer[0][1], method, 4, Grid(*trace.grids[0]))
    held = [min(sum(pair), window - 1 if window else 999) for pair, window in zip(trace.tokens_per_layer, windows(model), strict=True)]
    keys = [layer.self_attn.k_proj.out_features if hasattr(layer.self_attn, "k_proj") else 16 for layer in layers_of(model)]
    assert planned.kv_bytes == trace.key_value_bytes == sum(2 * 4 * count * width for count, width in zip(held, keys, strict=True))
    assert planned.baseline_kv_bytes < inputs["input_ids"].shape[1] * 2 * 4 * sum(keys)


def masked_logits(model, inputs, sequence, trace):
    """One forward of the stock model over prompt and answer, with a mask in each layer that hides what is not alive there."""
    total = sequence.shape[1]
    patches = torch.isin(sequence[0], torch.tensor([IMAGE, IMAGE + 1])).nonzero().flatten()
    if model.config.model_type == "llava_onevision":
        patches = patches[:-1]  # the newline behind a clip is text
    place = torch.arange(total)

    def hide(layer, _module, args, kwargs):
        visible = torch.ones(total, dtype=torch.bool)
        visible[patches] = False
        visible[patches[trace.survivors[layer]]] = True
        seen = (place[:, None] >= place) & visible
        window = windows(model)[layer]
        if model.config.model_type.startswith("gemma") and (window is not None or model.config.model_type == "gemma3"):
            frames = torch.zeros(total, dtype=torch.long)
            frames[patches] = 1 + torch.arange(len(patches)) // 25
            seen = place[:, None] >= place
            seen |= (frames[:, None] == frames) & (frames > 0)
            seen &= visible
        if window is not None:
            seen &= place[:, None] - place < window
        return args, {**kwargs, "attention_mask": (seen | torch.eye(total, dtype=torch.bool))[None, None]}

    layers = layers_of(model)
    hooks = [layer.register_forward_pre_hook(lambda m, a, k, i=i: hide(i, m, a, k), with_kwargs=True) for i, layer in enumerate(layers)]
    given = {**inputs, "input_ids": sequence, "attention_mask": torch.ones_like(sequence)}
    if tiny(model).token_types:
        name = tiny(model).token_types
        given[name] = torch.nn.functional.pad(inputs[name], (0, total - inputs["input_ids"].shape[1]))
    try:
        with torch.no_grad():
            return model(**given, use_cache=False).logits
    finally:
        for hook in hooks:
            hook.remove()


@takes_features
def test_a_compact_prompt_is_a_prompt_with_fewer_placeholders():
    model, inputs = WINDOWED["Mistral"](), TINY["llava"].video_inputs()
    with torch.no_grad():
        features = model.model.get_image_features(inputs["pixel_values"], return_dict=True)
        features.pooler_output = list(merge_clip(torch.stack(list(features.pooler_output)), 0.5).tokens.view(4, 12, -1))
    ids, run = inputs["input_ids"][0].tolist(), 0
    shorter = []
    for token in ids:
        run = run + 1 if token == IMAGE else 0
        if run <= 12:
            shorter.append(token)
    shorter = torch.tensor([shorter])
    expected = generate(model, {"input_ids": shorter, "attention_mask": torch.ones_like(shorter)}, mm_encoder_outputs={"image": features})
    with aim.reduce(model, aim.AIM(merge_ratio=0.5, l1=LAYERS, l2=LAYERS + 1)):
        ours = generate(model, inputs)
    assert torch.equal(ours[0, -SAID:], expected[0, -SAID:])


def test_a_batch_of_reduced_prompts_equals_each_alone(model):
    batch, alone = tiny(model).batch_inputs()
    with aim.reduce(model, aim.AIM(merge_ratio=0.5, l1=1, l2=5)):
        together = generate(model, batch)
        for row, inputs in zip(together, alone, strict=True):
            assert torch.equal(row[-SAID:], generate(model, inputs)[0, -SAID:])


def test_beams_are_the_stock_models_where_nothing_is_dropped():
    model = WINDOWED["Mistral"]()
    inputs = TINY["llava"].video_inputs()
    stock = generate(model, inputs, num_beams=3)
    with aim.reduce(model, aim.Full()):
        assert torch.equal(generate(model, inputs, num_beams=3), stock)


def test_what_a_word_looked_at_is_told_for_the_layers_that_see_the_whole_prompt(model):
    with aim.reduce(model, aim.Full(), attention=True) as trace:
        generate(model, tiny(model).video_inputs(), max_new_tokens=3)
    whole = [window is None for window in windows(model)]
    assert [[row is not None for row in rows] for rows in trace.attention] == [whole] * len(trace.attention) != []


class Renumbering(aim.VTW):
    positions = "renumbered"


def test_renumbered_positions_close_the_gaps_for_a_window_too():
    model, inputs = WINDOWED["Mistral"](), TINY["llava"].video_inputs()
    with aim.reduce(model, Renumbering(layer=2)):
        cached = generate(model, inputs)
        anew = generate(model, inputs, use_cache=False)
    with aim.reduce(model, aim.VTW(layer=2)):
        gaps = generate(model, inputs)
    assert torch.equal(cached, anew) and not torch.equal(cached, gaps)
