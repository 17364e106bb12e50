"""Faults of the machine, injected: each ends in one clear message, leaves nothing on the model, and the next run works."""

import errno
import logging
import threading

import pytest
import torch

import aim
from aim.kernels.refusal import Refusal
from aim.methods import Full
from aim.runtime.faults import NotEnoughMemory, is_disk_full, is_out_of_memory
from aim.ui import api, errors, export_files, handlers
from aim.ui.gpu import placed
from aim.ui.request import Request
from aim.ui.run_log import log_unstarted, logged
from aim.ui.status import not_run
from aim.ui.stop import StopSignal
from tests.fakes import FakeVlm, make_clip
from tests.page import Page
from tests.tiny import fingerprint
from tests.visitor import EXAMPLES, examples, serve

QUESTION = "what colour is the circle?"
NO_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    MemoryError(),
]


@pytest.fixture(scope="module")
def vlm():
    vlm = aim.load("bundled")
    vlm.ask(make_clip(1), QUESTION, max_new_tokens=1)
    return vlm


def raising(error):
    def broken(*_args, **_kwargs):
        raise error

    return broken


# Every place and every error by default, every pair of them in CI.
PLACES = ("tower", "layer", "head")
PAIRS = [
    pytest.param(place, error, id=f"{place}-{type(error).__name__}", marks=() if at == number % len(PLACES) else pytest.mark.whole)
    for at, place in enumerate(PLACES)
    for number, error in enumerate(NO_MEMORY)
]


@pytest.mark.parametrize(("place", "error"), PAIRS)
def test_out_of_memory_says_which_knob_to_turn_and_the_next_run_works(vlm, monkeypatch, place, error):
    modules = {
        "tower": vlm.model.model.vision_tower.encoder.layers[0],
        "layer": vlm.model.model.language_model.layers[3],
        "head": vlm.model.lm_head,
    }
    vlm.features.clear()
    before = fingerprint(vlm.model)
    with monkeypatch.context() as patch:
        patch.setattr(modules[place], "forward", raising(error))
        in_tower = "4 frames in the vision tower. Use fewer frames, or merge patches inside the tower.*--tower-merge"
        with pytest.raises(NotEnoughMemory, match=in_tower if place == "tower" else "fewer frames.*merge ratio") as told:
            vlm.ask(make_clip(4), QUESTION)
    assert told.value.__context__.__traceback__ is None and not vlm.features  # nothing holds on to the run's tensors
    assert fingerprint(vlm.model) == before
    assert vlm.ask(make_clip(4), QUESTION, max_new_tokens=2).new_tokens == 2


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), KeyError("x"), OSError("a path")])
def test_other_errors_are_not_taken_for_it(error):
    assert not is_out_of_memory(error) and not is_disk_full(error)


def request(**changes) -> Request:
    return Request.of(**{"video": "clip.mp4", "question": "what?", "merge_ratio": 0.5, "l1": 2, "l2": 4, "num_frames": 2} | changes)


class Small(FakeVlm):
    """Has no memory for the full model."""

    def stream(self, clip, question, method, *rest, **options):
        if isinstance(method, Full):
            raise NotEnoughMemory("too large")
        yield from super().stream(clip, question, method, *rest, **options)


def test_a_full_model_that_does_not_fit_leaves_the_answer_and_says_so():
    read = lambda path, num_frames, stop: make_clip(num_frames)  # noqa: E731
    last = list(handlers.answer(placed(Small()), request(compare=True), StopSignal(), read))[-1]
    assert last.screen["answer"] == "a red circle" and last.run.full is None and handlers.TOO_LARGE in last.status


def test_the_api_keeps_the_answer_too_where_the_full_model_does_not_fit(caplog):
    caplog.set_level(logging.INFO, "aim.runs")
    asked = request(video=str(EXAMPLES / examples()[0]["file"]), compare=True)
    told = api.ask(placed(Small()), asked)
    assert told["answer"] == "a red circle" and told["full"] is None and told["note"] == handlers.TOO_LARGE
    assert outcomes(caplog) == ["ok"]
    both = api.ask(placed(FakeVlm()), asked)
    assert both["full"]["answer"] == both["answer"] == "a red circle" and both["note"] == "" and "trace" not in both["full"]
    assert outcomes(caplog) == ["ok"] * 3


def outcomes(caplog) -> list[str]:
    return [record.getMessage().split("outcome=")[1] for record in caplog.records if record.name == "aim.runs"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Refusal("A sentence <b>for</b> the visitor."), "A sentence <b>for</b> the visitor."),
        (MemoryError(), "fewer frames or a smaller merge ratio"),
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/gradio/x"), "disk of this server is full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "/tmp/gradio/x"), "disk of this server is full"),
        (ModuleNotFoundError("No module named 'decord.x'", name="decord.x"), "lacks the Python package decord,"),
        (
            ImportError("cannot import name 'x' from 'av' (/usr/lib/av.py)", name="av", path="/usr/lib/av.py"),
            "lacks the Python package av,",
        ),
        (ImportError("X requires /usr/lib/x.so"), errors.UNEXPECTED),
        (ValueError("operands could not be broadcast together with shapes (2,) (3,)"), errors.UNEXPECTED),
        (OSError(errno.EACCES, "Permission denied", "/etc/secret"), errors.UNEXPECTED),
        (RuntimeError("at /root/aim.py"), errors.UNEXPECTED),
    ],
)
def test_every_error_is_one_sentence_without_a_path(error, words):
    told = errors.sentence(error)
    assert words in told and "\n" not in told and "/etc" not in told and "/root" not in told and "/usr" not in told and "/tmp" not in told
    assert "<b>" not in str(errors.message(error).message)


@pytest.fixture
def opened(vlm):
    demo, address = serve(vlm)
    page = Page(address)
    yield page
    page.close()
    demo.close()


def test_a_full_disk_is_told_on_the_page_and_the_next_run_saves_again(opened, monkeypatch):
    example = examples()[0]
    opened.upload(EXAMPLES / example["file"])
    for broken in (True, False):
        with monkeypatch.context() as patch:
            if broken:
                patch.setattr(export_files, "save_trace", raising(OSError(errno.ENOSPC, "No space left on device", "/tmp/gradio/aim")))
            assert list(opened.press_run())[-1]["output"]["data"][1]["answer"] == example["answer"]
            told = opened.at_once(opened.event("export-beacon", "select"))
        assert told[0] == (not_run(errors.DISK_FULL) if broken else "")


def test_a_broken_layer_is_one_message_on_the_page_and_the_next_run_answers(opened, vlm, monkeypatch):
    before = fingerprint(vlm.model)
    with monkeypatch.context() as patch:
        patch.setattr(vlm.model.model.language_model.layers[2], "forward", raising(RuntimeError("in /root/secret.py")))
        assert list(opened.press_run())[-1]["output"]["data"][0] == not_run(errors.UNEXPECTED)
    assert fingerprint(vlm.model) == before
    assert list(opened.press_run())[-1]["output"]["data"][1]["answer"] == examples()[0]["answer"]


def test_each_run_is_one_line_without_what_was_asked_or_where_it_lies(vlm, caplog):
    caplog.set_level(logging.INFO, "aim.runs")
    vlm.name, kept = "/home/somebody/models/mine", vlm.name
    try:
        model = placed(vlm)
        with logged(model, "aim", 4) as note:
            answer = vlm.ask(make_clip(4), QUESTION, max_new_tokens=2)
            note(answer)
        with logged(model, "aim", 4, stopped=lambda: True) as note:
            note(answer)
        for error in (Refusal(QUESTION), ValueError(QUESTION), RuntimeError(QUESTION), NotEnoughMemory(QUESTION), GeneratorExit()):
            with pytest.raises(type(error)), logged(model, "aim", 4):
                raise error
        with logged(model, "aim", 4):
            pass
        log_unstarted(model, "aim", "what was typed", Refusal(QUESTION))
        log_unstarted(model, "aim", 4, ValueError(QUESTION))
    finally:
        vlm.name = kept
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split("outcome=")[1] for line in lines] == [
        "ok",
        "stopped",
        "refused",
        "failed",
        "failed",
        "failed",
        "stopped",
        "stopped",
        "refused",
        "failed",
    ]
    facts = dict(part.split("=") for part in lines[0].split())
    assert facts["model"] == "mine" and facts["method"] == "aim" and facts["frames"] == "4" and facts["new_tokens"] == "2"
    assert facts["products"] == "float32"
    assert facts["clips_mib"] == "0.0" and float(facts["features_mib"]) == round(vlm.features.bytes / 2**20, 1)
    assert float(facts["total_ms"]) >= float(facts["llm_prefill_ms"]) > 0
    assert not any("/" in line or "circle" in line or "typed" in line for line in lines)


def test_threads_of_ended_runs_are_gone(vlm):
    before = threading.active_count()
    for number in range(5):
        vlm.ask(make_clip(number + 1), QUESTION, max_new_tokens=1)
    assert threading.active_count() == before
