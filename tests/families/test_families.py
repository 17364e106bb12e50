"""Every family under `aim.reduce`: equal to stock where nothing is reduced, as scheduled where something is, one by one or as a batch."""

import pytest
import torch

import aim
from aim.kernels.schedule import merged_per_clip, ramp
from tests.tiny import FAR_APART, TINY, fingerprint, pictures_of

NOTHING = [aim.Full(), aim.AIM(merge_ratio=1.0, l1=6, l2=7)]
REDUCED = aim.AIM(merge_ratio=0.5, l1=2, l2=5)


@pytest.fixture(scope="module", params=FAR_APART)
def tiny(request):
    """(inputs of the family, a model of it)."""
    family = TINY[request.param]
    return family, family.model()


def generate(model, inputs, tokens=5):
    with torch.no_grad():
        output = model.generate(**inputs, max_new_tokens=tokens, do_sample=False)
    return output[:, inputs["input_ids"].shape[1] :]


def inputs_of(family, kind):
    return {"video": family.video_inputs, "images": family.image_inputs}[kind]()


@pytest.mark.parametrize("kind", ["video", "images"])
@pytest.mark.parametrize("method", NOTHING, ids=lambda method: method.name)
def test_reducing_nothing_equals_stock_generate_token_for_token(tiny, kind, method):
    family, model = tiny
    inputs = inputs_of(family, kind)
    stock = generate(model, inputs, 30)
    with aim.reduce(model, method):
        ours = generate(model, inputs, 30)
    assert len(set(stock[0].tolist())) > 3
    assert torch.equal(stock, ours)


def test_the_answer_depends_on_the_pictures(tiny):
    family, model = tiny
    inputs = family.video_inputs()
    pixels = next(name for name in inputs if name.startswith("pixel_values"))
    other = {**inputs, pixels: inputs[pixels].flip(0) if len(inputs[pixels]) > 1 else inputs[pixels].flip(1)}
    assert not torch.equal(generate(model, inputs), generate(model, other))


@pytest.mark.parametrize("frames", [1, 4, 7])
def test_layers_run_on_as_many_tokens_as_scheduled(tiny, frames):
    family, model = tiny
    with aim.reduce(model, REDUCED) as trace:
        generate(model, family.video_inputs(frames), 3)
    steps, text = -(-frames // family.step), 9 + family.separators(frames)
    merged = merged_per_clip(0.5, steps, family.per_frame)
    assert (trace.frames, trace.rows * trace.columns) == (steps, family.per_frame)
    assert trace.visual_tokens == family.tokens(frames)
    assert trace.tokens_per_layer == [(int(share * merged), text) for share in ramp(6, 2, 5)]
    assert trace.key_value_lengths == family.cached([int(share * merged) + text for share in ramp(6, 2, 5)])


def test_several_images_are_merged_image_by_image(tiny):
    family, model = tiny
    inputs = family.image_inputs()
    with aim.reduce(model, REDUCED) as trace:
        answer = generate(model, inputs, 12)
    assert answer.shape[1] == 12
    merged = sum(merged_per_clip(0.5, frames, rows * columns) for frames, rows, columns in trace.grids)
    separators = (trace.tokens_per_layer[0][1]) + trace.visual_tokens
    assert trace.merged_tokens == merged and separators == inputs["input_ids"].shape[1]
    assert [visual for visual, _ in trace.tokens_per_layer] == [int(share * merged) for share in ramp(6, 2, 5)]


@pytest.mark.parametrize("kind", ["video", "images"])
def test_nothing_is_left_on_the_model(tiny, kind):
    family, model = tiny
    inputs = inputs_of(family, kind)
    stock, before = generate(model, inputs), fingerprint(model)
    with aim.reduce(model, REDUCED):
        generate(model, inputs)
        assert fingerprint(model) != before
    assert fingerprint(model) == before
    assert torch.equal(generate(model, inputs), stock)


@pytest.mark.parametrize("method", [aim.Full(), REDUCED], ids=lambda method: method.name)
def test_a_batch_padded_on_the_left_equals_its_prompts_one_by_one(tiny, method):
    family, model = tiny
    batch, alone = family.batch_inputs()
    assert batch["attention_mask"][0, 0] == 0
    with aim.reduce(model, method), torch.no_grad():
        together = generate(model, batch, 8)
        logits = model(**batch).logits[:, -1]
        for row, inputs in enumerate(alone):
            assert torch.equal(together[row], generate(model, inputs, 8)[0])
            assert (logits[row] - model(**inputs).logits[0, -1]).abs().max() <= 1e-4


def test_features_made_once_give_the_same_answer_as_pixels(tiny):
    from aim.engine.features import feature_inputs
    from aim.families import family_of

    family, model = tiny
    inputs = family.video_inputs()
    entry = family_of(model.config)
    with torch.inference_mode():
        encoded = entry.encode(model, pictures_of(inputs))
    given = {k: v for k, v in inputs.items() if "pixel" not in k}
    with aim.reduce(model, REDUCED) as trace:
        ours = generate(model, given | encoded.inputs | feature_inputs(model, encoded.features))
    assert (encoded.grid.frames, encoded.grid.rows, encoded.grid.columns) == (trace.frames, trace.rows, trace.columns)
    with aim.reduce(model, REDUCED):
        assert torch.equal(ours, generate(model, inputs))
