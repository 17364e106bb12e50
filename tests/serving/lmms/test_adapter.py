"""The adapter between lmms-eval's requests and this project's runtime."""

from __future__ import annotations

from pathlib import Path

import pytest
from lmms_eval import models
from lmms_eval.api.instance import Instance
from lmms_eval.models.model_utils.gen_metrics import reset_logged_metrics, summarize_logged_metrics

import aim
import aim.serving.lmms_eval
from aim.kernels.refusal import Refusal
from aim.serving.lmms_eval import AIMModel, _generation

VIDEO = str(Path(__file__).parents[3] / "assets" / "examples" / "colour.mp4")
QUESTION = "What color is the circle?"
GREEDY = {"until": ["\n\n"], "max_new_tokens": 3, "do_sample": False, "temperature": 0, "top_p": 1.0, "num_beams": 1}


def model(arguments: str = "") -> AIMModel:
    given = "pretrained=bundled,max_frames=4" + (f",{arguments}" if arguments else "")
    return models.get_model("aim").create_from_arg_string(given, {"device": "cpu", "batch_size": "1", "max_batch_size": None})


@pytest.fixture(scope="module")
def small():
    return model("merge_ratio=0.25,l1=6,l2=9")


def text(words: str) -> dict:
    return {"type": "text", "text": words}


def video(**options) -> dict:
    return {"type": "video", "url": VIDEO, **options}


def user(*content: dict) -> list[dict]:
    return [{"role": "user", "content": list(content)}]


def run(lm: AIMModel, *samples: list[dict], given: dict = GREEDY, padding: int = 0) -> list:
    """The results for these samples, the last `padding` of which are copies that only even out the processes."""
    lm.task_dict = {"task": {"test": list(samples)}}
    requests = []
    for i in range(len(samples)):
        metadata = {"task": "task", "doc_id": i, "repeats": 1}
        if i >= len(samples) - padding:
            metadata["__padding_only__"] = True
        arguments = ("", lambda document: document, dict(given), i, "task", "test")
        requests.append(Instance(request_type="generate_until", arguments=arguments, idx=0, metadata=metadata))
    return lm.generate_until(requests)


def test_lmms_eval_finds_the_model_by_its_entry_point():
    assert models.get_model("aim") is AIMModel
    assert "aim" in models.list_available_models()


@pytest.mark.parametrize("name", sorted(aim.METHODS))
def test_every_method_runs_by_its_name(name):
    lm = model(f"method={name}")
    [result] = run(lm, user(video(), text(QUESTION)))
    expected = aim.load("bundled", "cpu").ask(aim.read_video(VIDEO, 4), QUESTION, aim.METHODS[name](), 3)
    assert lm.method == aim.METHODS[name]()
    assert result.text == expected.text
    assert result.token_counts.to_dict()["merged_tokens"] == expected.trace.merged_tokens


def test_knobs_given_beside_the_method_reach_it():
    assert model("method=aim,merge_ratio=0.25,l1=14,l2=22,positions=original").method == aim.AIM(0.25, 14, 22, "original")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("method=magic", "method is 'magic'; accepted: .*aim.*full"),
        ("method=full,merge_ratio=0.5", "method=full takes these knobs: none; given: merge_ratio"),
        ("max_frame=4", "given: max_frame"),
        ("merge_ratio=2", "merge_ratio is 2"),
        ("merge_ratio=half", "merge_ratio is 'half'"),
        ("dtype=int8", "dtype is 'int8'; accepted: auto"),
        ("pretrained=no-such-model", '"no-such-model" is not on this machine'),
    ],
)
def test_a_mistake_in_the_model_arguments_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        model(arguments)


def test_batches_are_refused():
    with pytest.raises(Refusal, match="batch_size is 8; accepted: 1"):
        AIMModel("bundled", batch_size="8", device="cpu")


@pytest.mark.parametrize(
    "sample, held",
    [
        (user({"type": "image", "url": "a.png"}, text(QUESTION)), "The sample holds image, text from user"),
        (user(video(), video(), text(QUESTION)), "The sample holds video, video, text from user"),
        (user(text(QUESTION)), "The sample holds text from user"),
        (user(video()), "The sample holds video from user"),
        (user(text(QUESTION), video()), "The sample holds text, video from user"),
        ([{"role": "system", "content": [text("Be brief.")]}, *user(video(), text(QUESTION))], "from system, user"),
        (user(video(start_time=1.0), text(QUESTION)), "a part of its video"),
        (user(video(), text(" ")), "The question has 0 characters"),
    ],
)
def test_a_sample_that_cannot_be_asked_ends_the_process_and_says_which(small, sample, held):
    with pytest.raises(SystemExit) as end:
        run(small, user(video(), text(QUESTION)), sample)
    assert str(end.value).startswith("aim: task, document 1: ") and held in str(end.value)


@pytest.mark.parametrize(
    "given, expected",
    [
        (GREEDY, {"max_new_tokens": 3}),
        ({}, {"max_new_tokens": 1024}),
        ({"do_sample": True, "temperature": 0}, {"max_new_tokens": 1024}),
        ({"temperature": 0.7, "top_p": None}, {"max_new_tokens": 1024, "do_sample": True, "temperature": 0.7}),
        ({"do_sample": False, "temperature": 0.7}, {"max_new_tokens": 1024}),
        ({"do_sample": True, "top_k": 5}, {"max_new_tokens": 1024, "do_sample": True, "top_k": 5}),
    ],
)
def test_only_what_generate_takes_is_passed_on(given, expected):
    assert _generation(given) == expected


def test_beam_search_is_refused():
    with pytest.raises(Refusal, match="num_beams is 4; accepted: 1"):
        _generation({"num_beams": 4})


def test_a_task_that_samples_gets_different_answers(small):
    sampled = {"max_new_tokens": 4, "do_sample": True, "temperature": 50.0}
    assert len({result.text for result in run(small, *[user(video(), text(QUESTION))] * 5, given=sampled)}) > 1


def test_a_copy_that_evens_out_the_processes_is_answered_but_not_counted(small):
    reset_logged_metrics()
    results = run(small, *[user(video(), text(QUESTION))] * 3, padding=1)
    assert [result.text for result in results] == [results[0].text] * 3
    logged = summarize_logged_metrics()
    assert logged["total_gen_tokens"] == 2 * results[0].token_counts.output_tokens
    assert logged["avg_merged_tokens"] == results[0].token_counts.reduction["merged_tokens"]


def test_a_process_without_requests_is_no_error(small):
    assert run(small) == []


def test_questions_about_one_video_in_a_row_read_it_once(small, monkeypatch):
    read = []
    monkeypatch.setattr(aim.serving.lmms_eval, "read_video", lambda path, frames: read.append(path) or aim.read_video(path, frames))
    small._clip = None
    run(small, user(video(), text(QUESTION)), user(video(), text("How many shapes are there?")))
    assert read == [VIDEO]


def test_prompts_longer_than_the_apps_limit_are_asked(small):
    [result] = run(small, user(video(), text(f"{'the ' * 600}{QUESTION}")))
    assert result.token_counts.input_tokens > 600


def test_several_texts_are_one_question(small):
    assert (
        run(small, user(video(), text("What color is"), text("the circle?")))[0].text == run(small, user(video(), text(QUESTION)))[0].text
    )


@pytest.mark.parametrize("kind", ["loglikelihood", "generate_until_multi_round"])
def test_other_kinds_of_tasks_are_refused(small, kind):
    with pytest.raises(Refusal, match="Choose a generate_until task"):
        getattr(small, kind)([])


def test_cleaning_up_frees_the_model():
    lm = model()
    lm.clean()
    assert lm.vlm is None
