"""Two threads that enter `aim.reduce` on one model at the same moment: one is let in, and the model is left as it was."""

import importlib
import threading

import aim
from aim.kernels.refusal import Refusal
from tests.tiny import llava_onevision

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
