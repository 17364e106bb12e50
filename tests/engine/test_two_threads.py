"""Several threads and one model: one enters `aim.reduce`, and inside it one forward runs at a time."""

import importlib
import threading

import pytest
import torch

import aim
from aim.kernels.refusal import Refusal
from tests.tiny import TINY, clip_inputs, llava_onevision

PATIENCE = 30  # seconds


def test_one_of_two_is_let_in_and_the_attention_of_the_model_is_put_back(monkeypatch):
    reducing = importlib.import_module("aim.engine.reduce")
    model, check = llava_onevision(), reducing.refuse_model
    before = model.model.language_model.config._attn_implementation
    arrived, told, ended = threading.Barrier(2), threading.Barrier(2), []

    def check_together(*args, **kwargs):
        check(*args, **kwargs)
        arrived.wait(PATIENCE)  # both are on their way in before either is inside

    monkeypatch.setattr(reducing, "refuse_model", check_together)

    def enter():
        try:
            with aim.reduce(model, aim.AIM()):
                ended.append("let in")
                told.wait(PATIENCE)
        except Refusal:
            ended.append("refused")
            told.wait(PATIENCE)

    threads = [threading.Thread(target=enter) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == ["let in", "refused"]
    assert model.model.language_model.config._attn_implementation == before


def in_a_thread(work):
    """(what `work()` returned, the exception that it raised), of a thread of its own."""
    results, errors = [], []

    def run():
        try:
            results.append(work())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE)
    return results, errors


@pytest.mark.parametrize("method", [aim.AIM(merge_ratio=0.5, l1=2, l2=5), aim.PruMerge(keep_ratio=0.5)], ids=["aim", "prumerge"])
@pytest.mark.parametrize("name", ["llava_onevision", "qwen2_vl"])
def test_a_forward_in_the_middle_of_another_threads_forward_is_refused_and_changes_nothing(name, method):
    model, tiny = TINY[name].model(), TINY[name]
    first, second = tiny.video_inputs(seed=0), tiny.video_inputs(frames=6, seed=1)

    def forward(inputs):
        with torch.no_grad():
            return model(**inputs).logits[:, -1]

    with aim.reduce(model, method) as trace:
        alone, alone_lengths = forward(first), trace.tokens_per_layer
        intruders = []

        def intrude(*_):
            if not intruders:
                intruders.append(None)
                intruders[0] = in_a_thread(lambda: forward(second))

        hook = model.model.language_model.layers[1].register_forward_pre_hook(intrude)
        together = forward(first)
        hook.remove()
        assert torch.equal(together, alone) and trace.tokens_per_layer == alone_lengths
        [(results, [error])] = intruders
        assert not results and isinstance(error, Refusal) and "Another thread runs the model" in str(error)
        assert in_a_thread(lambda: forward(second))[1] == []  # afterwards it may


def test_another_threads_pictures_are_not_taken_for_this_prompts():
    # `generate` encodes the pixels before its first forward, so another thread's tower pass may come between the two.
    model, method = llava_onevision(), aim.PruMerge(keep_ratio=0.5)
    inputs, other = clip_inputs(seed=0), clip_inputs(seed=1)

    def generate():
        with torch.no_grad():
            return model.generate(**inputs, max_new_tokens=1, do_sample=False)

    with aim.reduce(model, method) as trace:
        generate()
        alone = trace.assignment.clone()
        intruders = []

        def encode_beside(*_):
            if threading.current_thread() is threading.main_thread():
                with torch.no_grad():
                    intruders.append(in_a_thread(lambda: model.get_video_features(other["pixel_values_videos"])))

        hook = model.model.vision_tower.register_forward_hook(encode_beside)
        generate()
        hook.remove()
        assert intruders and intruders[0][1] == []
        assert torch.equal(trace.assignment, alone)


def test_a_thread_that_was_in_the_middle_of_a_forward_when_the_block_began_is_told_or_unharmed():
    model, inputs = llava_onevision(), clip_inputs()
    with torch.no_grad():
        stock = model(**inputs).logits
    inside, reduced, ended = threading.Event(), threading.Event(), []

    def wait(*_):
        inside.set()
        reduced.wait(PATIENCE)

    hook = model.model.language_model.layers[0].register_forward_pre_hook(wait)

    def forward():
        with torch.no_grad():
            ended.append(model(**inputs).logits)

    thread = threading.Thread(target=forward)
    thread.start()
    inside.wait(PATIENCE)
    with aim.reduce(model, aim.AIM(merge_ratio=0.5, l1=2, l2=5)):
        reduced.set()
        thread.join(PATIENCE)
    hook.remove()
    assert torch.equal(ended[0], stock)


def test_a_model_made_from_the_same_config_object_runs_as_ever_beside_a_reduced_one():
    reduced = llava_onevision()
    other = type(reduced)(reduced.config).eval()
    batch, _ = TINY["llava_onevision"].batch_inputs()
    with torch.no_grad():
        expected = other(**batch).logits[:, -1]
        with aim.reduce(reduced, aim.AIM(merge_ratio=0.5, l1=2, l2=5)):
            reduced(**batch)
            [inside], _ = in_a_thread(lambda: other(**batch).logits[:, -1].detach())
            torch.testing.assert_close(other(**batch).logits[:, -1], expected, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(inside, expected, atol=1e-5, rtol=1e-5)
            with pytest.raises(Refusal, match="made from the same config object"), aim.reduce(other, aim.Full()):
                pytest.fail("the block must not begin")
    torch.testing.assert_close(other(**batch).logits[:, -1], expected, atol=1e-5, rtol=1e-5)
