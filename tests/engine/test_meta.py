"""On the device `meta`, where tensors have no values, whatever waits for one fails: no method makes the host wait for the GPU.

What is checked is the text model's forward with all of the engine's hooks, from the embeddings to the copy of the record, and decoding.
"""

from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import aim
from aim.engine import copies, finite, seams, sequence
from aim.engine.attention import note_forward, prompt_mask
from aim.engine.features import feature_inputs
from aim.families import FAMILIES
from aim.families.granite4_vision import WholeViews
from aim.families.pixel_change import KnownChange
from aim.kernels.tower_attention import TowerAttention
from tests.tiny import AXES, TINY, own_cache

# Their number of tokens is the clip's, so the host has to wait for it.
BY_THE_CLIP = ("prumerge", "vidcom2", "flashvid", "fastvid", "holitom", "framefusion", "difffp")
SETTINGS = [
    *(kind() for name, kind in aim.METHODS.items() if name not in BY_THE_CLIP),
    aim.PruMerge(keep_ratio=0.4, plus=True),
    aim.VidCom2(exact=True),
    aim.AIM(merge_ratio=0.5, l1=2, l2=5, damping=0.2, restart="question"),
    aim.AIM(merge_ratio=0.5, l1=2, l2=5, positions="original", merge_window=3, merge_order="official", metric="keys"),
]


# The first family runs by default. CI runs those that differ in what the engine does for them: positions with three axes, features at
# several depths, layers without attention, windows, pictures that see one another.
FIRST = next(iter(TINY))
DIFFERENT = ("qwen2_5_vl", "qwen3_vl", "granite4_vision", "qwen3_5", "gemma4", "molmo2")


@pytest.fixture(scope="module")
def family(request):
    return TINY[request.param]


def on_families(name: str, values: list, share: int):
    """A test's families beside its `values`. CI runs all values on the first family, every `share`-th of them by default. Families that
    differ take them in turns, so that each value runs on half of these."""

    def mark(family, number):
        if family == FIRST:
            return () if number % share == 0 else pytest.mark.whole
        in_turn = family in DIFFERENT and (number + DIFFERENT.index(family)) % 2 == 0
        return pytest.mark.whole if in_turn else pytest.mark.every

    rows = [pytest.param(family, value, marks=mark(family, number)) for family in TINY for number, value in enumerate(values)]
    return pytest.mark.parametrize(("family", name), rows, indirect=["family"], ids=lambda value: getattr(value, "name", None))


@pytest.fixture(scope="module")
def model(family):
    model = family.model().to("meta")
    for module in model.modules():
        if type(module).__name__ == "Step3p7Experts":  # transformers itself waits here, to run the experts that are hit one by one
            module.forward = lambda hidden, *_chosen: hidden
    # On this device the product of all experts at once takes bfloat16 alone.
    has_experts = FAMILIES[model.config.model_type].language_shape(model.config.text_config).unused_size > 0
    return model.bfloat16() if has_experts else model


def without_values(model, frames: int, per_frame: int, monkeypatch):
    """The core without its tower: embeddings that are nothing but shapes, and positions and mask as `generate` has them."""

    def forward(input_ids, past_key_values=None, **_given):
        rows, length = input_ids.shape
        further = deepstack(model, frames * per_frame, rows, length) if length > 1 else {}
        several = (4, rows, length) if model.config.model_type in AXES else (rows, length)
        return seams.parts_of(model).language_model(
            inputs_embeds=torch.empty(rows, length, 32, device="meta", dtype=model.dtype),
            position_ids=torch.empty(several, dtype=torch.long, device="meta"),
            attention_mask=torch.empty(rows, length, dtype=torch.long, device="meta"),
            past_key_values=past_key_values,
            use_cache=True,
            **further,
        )

    monkeypatch.setattr(model.model, "forward", forward)
    attended = TowerAttention(torch.empty(frames, per_frame, device="meta"), torch.empty(frames, per_frame, 8, device="meta"))
    change = KnownChange(torch.empty(frames - 1, per_frame, device="meta"))
    made = WholeViews() if model.config.model_type == "granite4_vision" else SimpleNamespace(pooler_output=None)
    made.attentions, made.pixel_change = (attended,), change
    return made


def deepstack(model, patches: int, rows: int, length: int) -> dict:
    """What some text models are given besides."""
    if targets := getattr(model.config, "spatial_target_layers", ()):
        levels = {layer: torch.empty(patches // 25 * 26, 32, device="meta", dtype=model.dtype) for layer in targets}
        return {"deepstack_features": levels, "vision_mask": torch.empty(rows, length, 1, dtype=torch.bool, device="meta")}
    levels = getattr(model.config.vision_config, "deepstack_visual_indexes", ())
    features = [torch.empty(patches, 32, device="meta") for _ in levels]
    return {"deepstack_visual_embeds": features, "visual_pos_masks": torch.empty(rows, length, device="meta")} if features else {}


def words_of(inputs: dict) -> dict:
    """What of a prompt stays on the host: ids, mask and the sizes of its pictures."""
    return {name: value for name, value in inputs.items() if not name.startswith("pixel")}


class BlockingCopies(TorchDispatchMode):
    """Counts copies from the host to the device that the host waits for until the device has done all before."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        output = function(*args, **kwargs)
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        moves = isinstance(output, torch.Tensor) and output.is_meta and any(tensor.device.type == "cpu" for tensor in given)
        self.count += moves and not kwargs.get("non_blocking")
        return output


def by_the_cache(model) -> int:
    """Copies that transformers' own cache makes: each layer with a window moves the window's size to the device once."""
    return (getattr(model.config.text_config, "layer_types", None) or []).count("sliding_attention")


class Waited(Exception):
    """Raised in place of the copy, which is where the host may wait."""


@pytest.mark.parametrize("scores", ["pruning", "all"])
@on_families("method", SETTINGS, 2)
def test_a_prefill_waits_for_nothing_before_the_record_is_copied(family, model, method, scores, monkeypatch):
    def copied(_vectors):
        raise Waited

    monkeypatch.setattr(sequence, "on_cpu", copied)
    inputs = family.video_inputs()
    kind = "video" if "pixel_values_videos" in inputs else "image"
    seen = without_values(model, family.tokens(4) // family.per_frame, family.per_frame, monkeypatch)
    with pytest.raises(Waited), aim.reduce(model, method, scores) as trace, torch.no_grad(), BlockingCopies() as blocking:
        model.model(**words_of(inputs), **feature_inputs(model, {kind: seen}))
    assert len(trace.tokens_per_layer) == 6
    assert blocking.count == by_the_cache(model)


@on_families("method", [aim.AIM(merge_ratio=0.5, l1=2, l2=5), aim.FastV()], 1)
def test_recording_attention_waits_for_nothing_before_the_record_is_copied_either(family, model, method, monkeypatch):
    def copied(_vectors):
        raise Waited

    monkeypatch.setattr(sequence, "on_cpu", copied)
    inputs = family.video_inputs()
    kind = "video" if "pixel_values_videos" in inputs else "image"
    seen = without_values(model, family.tokens(4) // family.per_frame, family.per_frame, monkeypatch)
    with pytest.raises(Waited), aim.reduce(model, method, attention=True) as trace, torch.no_grad(), BlockingCopies() as blocking:
        model.model(**words_of(inputs), mm_encoder_outputs={kind: seen})
    assert (len(trace.tokens_per_layer), blocking.count) == (6, by_the_cache(model))


@on_families("method", SETTINGS[:-2], 2)
def test_a_padded_batch_and_its_decoding_wait_for_nothing_but_that_copy(family, model, method, monkeypatch):
    copied = []

    def stand_in(vectors):
        copied.append(len(vectors))
        return [torch.ones(vector.shape, dtype=vector.dtype) for vector in vectors]

    for module in (sequence, finite):
        monkeypatch.setattr(module, "on_cpu", stand_in)
    batch, _ = family.batch_inputs()
    kind = "video" if "pixel_values_videos" in batch else "image"
    frames = 2 * family.tokens(4) // family.per_frame
    seen = without_values(model, frames, family.per_frame, monkeypatch)
    with aim.reduce(model, method), torch.no_grad():
        output = model.model(**words_of(batch), **feature_inputs(model, {kind: seen}), **own_cache(model))
        expected = len(copied)

        def no_lists(*_args, **_options):
            raise AssertionError("a decoding step makes a tensor from a list")

        monkeypatch.setattr(torch, "tensor", no_lists)
        for given in ({}, {"position_ids": torch.empty(2, 1)}, {}):
            output = model.model(input_ids=torch.ones(2, 1, dtype=torch.long), past_key_values=output.past_key_values, **given)
    assert len(copied) == expected and output.last_hidden_state.shape == (2, 1, 32)


@on_families("name", BY_THE_CLIP, 1)
def test_only_a_number_of_tokens_that_the_pictures_decide_is_waited_for(family, model, name, monkeypatch):
    inputs = family.video_inputs()
    kind = "video" if "pixel_values_videos" in inputs else "image"
    seen = without_values(model, family.tokens(4) // family.per_frame, family.per_frame, monkeypatch)
    with pytest.raises(NotImplementedError), aim.reduce(model, aim.METHODS[name]()) as trace, torch.no_grad():
        model.model(**words_of(inputs), **feature_inputs(model, {kind: seen}))
    assert trace.tokens_per_layer == []  # in merging, before the first layer


def test_the_device_refuses_whatever_waits():
    with pytest.raises(RuntimeError):
        bool(torch.ones(1, device="meta").all())
    with pytest.raises(NotImplementedError):
        copies.on_cpu([torch.ones(1, device="meta")])


def test_the_mask_that_comes_with_sdpa_waits_and_ours_does_not():
    from transformers.masking_utils import sdpa_mask

    given = {"batch_size": 1, "q_length": 5, "kv_length": 5, "q_offset": 0, "kv_offset": 0, "device": "meta"}
    mask = torch.ones(1, 5, dtype=torch.bool, device="meta")
    with pytest.raises(RuntimeError):
        sdpa_mask(**given, attention_mask=mask)
    note_forward(True)
    try:
        assert prompt_mask(**given, attention_mask=mask) is None
    finally:
        note_forward(False)
