"""The bundled checkpoint behind vLLM's server, asked by the standard OpenAI client, against answers of `aim.reduce`."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from openai import APIConnectionError, BadRequestError

import aim
from aim.kernels.refusal import Refusal
from aim.serving.client import clip_url, question
from aim.serving.load import run as load
from tests.serving.vllm.cases import ASSETS, RATIOS, REFERENCES, examples
from tests.serving.vllm.server import kill, server

CLOSE = 5e-3  # of log-probabilities
EXPECTED = json.loads(REFERENCES.read_text())["bundled"]
EXAMPLES = {example["file"]: example for example in examples()}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with server(tmp_path_factory.mktemp("server") / "log.txt") as (_, client):
        yield client


@pytest.fixture(scope="module")
def ask(client):
    """`ask(file, ratio)` is the server's reply to the question about an example clip; `ask(**arguments)` to any request."""
    urls, model = {}, client.models.list().data[0].id

    def run(file="colour.mp4", ratio=None, **arguments):
        if file not in urls:
            urls[file] = clip_url(aim.read_video(ASSETS / "examples" / file, EXAMPLES[file]["frames"]).frames)
        asked = {**question(urls[file], EXAMPLES[file]["question"], ratio), "logprobs": True, "top_logprobs": 5, **arguments}
        return client.chat.completions.create(model=model, max_tokens=8, **asked)

    return run


def check(reply, file: str, ratio: float) -> None:
    expected = EXPECTED[file][str(ratio)]
    assert reply.usage.prompt_tokens == expected["prompt_tokens"]
    assert reply.choices[0].message.content.strip() == expected["text"]
    told = sorted((token.logprob for token in reply.choices[0].logprobs.content[0].top_logprobs), reverse=True)
    assert told == pytest.approx(sorted(expected["first"].values(), reverse=True), abs=CLOSE)


@pytest.mark.timeout(600)
def test_every_example_is_answered_as_by_merging_only_with_all_ratios_in_flight(ask):
    cases = [(file, ratio) for file in EXAMPLES for ratio in RATIOS]
    with ThreadPoolExecutor(8) as pool:
        for (file, ratio), reply in zip(cases, pool.map(lambda case: ask(*case), cases), strict=True):
            check(reply, file, ratio)


def test_a_request_without_a_ratio_has_the_servers_own(ask):
    check(ask("order.mp4"), "order.mp4", 0.25)


def test_a_prompt_from_the_cache_is_answered_in_the_same_words_and_each_ratio_has_its_own(ask):
    ask("when.mp4", 0.5)
    again = ask("when.mp4", 0.5)
    assert again.usage.prompt_tokens_details.cached_tokens > 100
    check(again, "when.mp4", 0.5)
    check(ask("when.mp4", 0.25), "when.mp4", 0.25)


def own(ratio) -> dict:
    return {"extra_body": {"mm_processor_kwargs": {"merge_ratio": ratio}}}


def image_with_a_ratio() -> dict:
    frame = clip_url(aim.read_video(ASSETS / "examples" / "colour.mp4", 1).frames).partition(",")[2]
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{frame}"}}
    return {"messages": [{"role": "user", "content": [image, {"type": "text", "text": "What?"}]}], **own(0.5)}


def text_with_a_ratio() -> dict:
    return {"messages": [{"role": "user", "content": "What?"}], **own(0.5)}


def broken_clip() -> dict:
    return {k: v for k, v in question("data:video/mp4;base64,bm8gdmlkZW8=", "What?").items() if k == "messages"}


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (own(1.5), "merge_ratio is 1.5; accepted: a number above 0 and up to 1"),
        (own(0), "merge_ratio is 0; accepted"),
        (own("half"), "merge_ratio is 'half'; accepted"),
        (image_with_a_ratio(), "merge_ratio was given with images alone"),
        (text_with_a_ratio(), "merge_ratio was given with text alone"),
        (broken_clip(), ""),
    ],
)
def test_a_wrong_request_is_a_400_with_a_sentence_and_the_next_one_is_answered(ask, arguments, sentence):
    with pytest.raises(BadRequestError) as refused:
        ask(**arguments)
    assert sentence in refused.value.body["message"]
    assert "Traceback" not in refused.value.body["message"] and str(ASSETS) not in refused.value.body["message"]
    check(ask(), "colour.mp4", 0.25)


def test_a_load_of_two_ratios_finds_no_wrong_answer(client):
    flags = "--ratios 1 0.25 --in-flight 1 3 --requests 6 --turns 1 --frames 4 --max-tokens 4"
    rows = load(["--url", str(client.base_url), *flags.split()]).splitlines()[2:]
    assert [row.split("|")[1:3] for row in rows] == [[f" {n} ", f" {ratio} "] for n in (1, 3) for ratio in ("1", "0.25", "mixed")]
    assert all(row.endswith("| 0 of 6 | 0 |") for row in rows)


def test_a_load_of_nothing_is_refused():
    with pytest.raises(Refusal, match="No OpenAI-compatible server answers at http://127.0.0.1:9/v1"):
        load(["--url", "http://127.0.0.1:9/v1"])


@pytest.mark.every  # starts two servers more
@pytest.mark.timeout(1200)
def test_a_server_killed_under_load_and_started_again_answers(tmp_path):
    """Requests in flight end with an error of the client's, and nothing that the dead server left keeps the next one from starting."""
    url = clip_url(aim.read_video(ASSETS / "examples" / "count.mp4", 8).frames)

    def one(client, count):
        asked = question(url, EXAMPLES["count.mp4"]["question"], 0.25)
        return client.chat.completions.create(model="assets/shapes-vlm", max_tokens=count, **asked)

    with server(tmp_path / "first.txt") as (process, client), ThreadPoolExecutor(4) as pool:
        assert one(client, 8).choices[0].message.content.strip() == EXPECTED["count.mp4"]["0.25"]["text"]
        waiting = [pool.submit(one, client, 8) for _ in range(40)]
        waiting[0].result()
        kill(process)
        assert any(isinstance(request.exception(), APIConnectionError) for request in waiting)
    with server(tmp_path / "second.txt") as (_, client):
        assert one(client, 8).choices[0].message.content.strip() == EXPECTED["count.mp4"]["0.25"]["text"]
