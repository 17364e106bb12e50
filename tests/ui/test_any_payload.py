"""Whatever knobs and payloads are made up: a result or one sentence, never a traceback, a path, or a question that hangs."""

import math

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import aim
from aim.methods import METHODS
from aim.ui.knobs import defaults
from aim.ui.request import FIELDS, Request, check
from tests.fakes import FakeVlm
from tests.page import PATIENCE
from tests.visitor import serve

NUMBERS = st.one_of(st.integers(-(10**6), 10**6), st.floats(allow_nan=True, allow_infinity=True))
PLAIN = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=20))
JSON = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=6
)
QUICK = settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


def one_sentence(error: BaseException) -> bool:
    text = str(error)
    return bool(text.strip()) and "\n" not in text and "Traceback" not in text and "/home" not in text and "/root" not in text


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    merge_ratio=NUMBERS, l1=st.integers(-50, 50), l2=st.integers(-50, 50), temperature=NUMBERS, damping=NUMBERS,
    iterations=st.integers(-5, 50), merge_window=st.integers(-5, 50), restart=st.sampled_from(["uniform", "question", "x"]),
)  # fmt: skip
@example(merge_ratio=math.nan, l1=0, l2=1, temperature=math.inf, damping=math.nan, iterations=1, merge_window=1, restart="uniform")
def test_any_knobs_give_a_schedule_that_only_falls_or_one_sentence(**knobs):
    try:
        method = aim.AIM(**knobs)
    except ValueError as error:
        assert one_sentence(error)
        return
    assert 0 < method.merge_ratio <= 1 and 0 <= method.l1 < method.l2 and 0 <= method.damping < 1
    visual = method.visual_per_layer(12, 4, 25)
    assert len(visual) == 12 and all(0 <= later <= earlier <= 100 for earlier, later in zip(visual, visual[1:], strict=False))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(video=st.none() | st.text(max_size=5), question=st.none() | st.text(max_size=2500), num_frames=st.integers(-10, 10**9))
def test_any_request_is_accepted_whole_or_refused_in_one_sentence(video, question, num_frames):
    request = Request.of(video, question, 0.5, 1, 3, num_frames)
    try:
        check(request, 8)
    except ValueError as error:
        assert one_sentence(error)
        return
    assert request.video and request.question.strip() and 1 <= request.num_frames <= 8


@pytest.fixture(scope="module")
def server():
    """One client for all calls: to set one up takes longer than most of them."""
    demo, address = serve(FakeVlm())
    with httpx.Client(base_url=f"{address}gradio_api/", timeout=PATIENCE) as client:
        yield client
    demo.close()


def call(server: httpx.Client, endpoint: str, data) -> tuple[int, str]:
    """(status, text) of a call with this payload, over HTTP as it is."""
    import json

    body = json.dumps({"data": data})  # NaN and Infinity included, which Python writes and JSON does not know
    begun = server.post(f"call/{endpoint}", content=body, headers={"content-type": "application/json"})
    if begun.status_code != 200:
        return begun.status_code, begun.text
    told = server.get(f"call/{endpoint}/{begun.json()['event_id']}")
    return told.status_code, told.text


def clean(status: int, text: str) -> bool:
    if any(word in text for word in ("Traceback", "site-packages", "/root/", "/home/", '.py"')):
        return False
    return 400 <= status < 500 or (status == 200 and text.count("event: complete") + text.count("event: error") == 1)


USUAL = defaults(FakeVlm())
KNOBS = [name for name in FIELDS if name not in ("video", "question")]


@QUICK
@given(name=st.sampled_from(KNOBS), value=JSON)
@example(name="num_frames", value=math.nan)
@example(name="l1", value="3")
@example(name="merge_ratio", value=None)
def test_any_value_for_any_knob_of_ask_is_answered_cleanly(server, name, value):
    values = USUAL | {name: value}
    status, text = call(server, "ask", [None, "what is it?", *(values[knob] for knob in KNOBS)])
    assert clean(status, text) and "event: complete" not in text, (status, text)


@QUICK
@given(data=st.lists(JSON, max_size=17))
def test_any_list_of_parameters_is_answered_cleanly(server, data):
    for endpoint in ("ask", "plan"):
        status, text = call(server, endpoint, data)
        assert clean(status, text), (endpoint, status, text)


@QUICK
@given(question=JSON, merge_ratio=JSON, l1=JSON, l2=JSON, num_frames=JSON, merge_window=JSON)
@example(question="x", merge_ratio=0.5, l1=1, l2=3, num_frames=2, merge_window=1)
def test_any_plan_is_a_plan_or_one_error(server, question, merge_ratio, l1, l2, num_frames, merge_window):
    status, text = call(server, "plan", [question, merge_ratio, l1, l2, num_frames, merge_window])
    assert clean(status, text), (status, text)


def test_every_method_has_a_knob_that_is_refused_in_one_sentence():
    for method in METHODS.values():
        for name, value in method().params().items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                with pytest.raises(ValueError) as error:
                    method(**{name: -1})
                assert one_sentence(error.value)


ODD = {
    "merge_ratio": ["half"],
    "l1": [1.5],
    "merge_window": [0, [2]],
    "positions": ["sideways"],
    "iterations": [10**9],
    "num_frames": [10**9, None],
    "max_new_tokens": [0],
    "compare": ["no"],
}


def test_an_odd_value_is_told_in_a_sentence_of_ours_and_leaves_no_traceback_in_the_log(server, own_clip, capfd):

    with own_clip.open("rb") as file:
        [path] = server.post("upload", files={"files": file}).json()
    video = {"path": path, "meta": {"_type": "gradio.FileData"}}
    capfd.readouterr()
    for name, values in ODD.items():
        for value in values:
            asked = USUAL | {name: value}
            status, text = call(server, "ask", [video, "what is it?", *(asked[knob] for knob in KNOBS)])
            told = text.partition("event: error\ndata: ")[2]
            assert status == 200 and ("accepted" in told or "this model takes" in told), (name, value, text)
            assert "Traceback" not in capfd.readouterr().err, (name, value)


NO_UPLOADS = {
    "a name": "clip.mp4",
    "a number": 5,
    "a list": ["clip.mp4"],
    "nothing in it": {},
    "an older Gradio's": {"video": {"path": "clip.mp4"}},
}


@pytest.mark.parametrize("given", NO_UPLOADS.values(), ids=NO_UPLOADS)
def test_a_video_that_is_no_upload_is_told_in_a_sentence_and_leaves_no_traceback_in_the_log(server, given, capfd):
    status, text = call(server, "ask", [given, "what is it?", *(USUAL[knob] for knob in KNOBS)])
    assert status == 200 and "The parameter video is no uploaded file; accepted: " in text.partition("event: error\ndata: ")[2], text
    assert "Traceback" not in capfd.readouterr().err


def test_what_the_api_describes_is_what_it_takes(server):
    described = server.get("info").json()["named_endpoints"]["/ask"]["parameters"]
    types = {parameter["parameter_name"]: parameter["type"] for parameter in described}
    assert types["merge_window"]["type"] == "integer" and "enum" not in types["merge_window"]
    assert types["positions"]["enum"] == ["compact", "original"] and types["compare"]["type"] == "boolean"
    assert types["num_frames"]["description"] == f"a whole number from 1 to {FakeVlm().max_frames}"
    for parameter in described[2:]:
        assert parameter["parameter_default"] == USUAL[parameter["parameter_name"]]
