"""The two public endpoints, through a real client: clean JSON, documented, and no file of the server's within reach."""

from __future__ import annotations

import httpx
import pytest
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import aim
from tests.visitor import EXAMPLES, PATIENCE, examples

FIRST = examples()[0]
CLIP, QUESTION, FRAMES = EXAMPLES / FIRST["file"], FIRST["question"], FIRST.get("frames", 8)


@pytest.fixture(scope="module")
def client(app):
    return Client(app, verbose=False)


@pytest.fixture(scope="module")
def vlm():
    return aim.load("bundled")


def test_ask_answers_an_uploaded_clip_as_the_library_does(client, vlm):
    told = client.predict(video=handle_file(str(CLIP)), question=QUESTION, num_frames=FRAMES, api_name="/ask")
    same = vlm.ask(aim.read_video(CLIP, FRAMES), QUESTION, aim.AIM(), max_new_tokens=8)
    assert told["answer"] == same.text == FIRST["answer"]
    assert told["tokens_per_layer"] == [list(pair) for pair in same.trace.tokens_per_layer]
    assert told["cost"] == pytest.approx(same.cost) and told["timings"]["llm_prefill"] > 0
    assert "trace" not in told and "full" not in told


@pytest.mark.parametrize("kind", ["PNG", pytest.param("JPEG", marks=pytest.mark.whole), pytest.param("WEBP", marks=pytest.mark.whole)])
def test_ask_takes_a_picture_as_one_frame(client, vlm, tmp_path, kind):
    path = tmp_path / f"picture.{kind.lower()}"
    Image.fromarray(aim.read_video(CLIP, 4).frames[2]).save(path)
    told = client.predict(video=handle_file(str(path)), question=QUESTION, api_name="/ask")
    same = vlm.ask(aim.read_image(path), QUESTION, aim.AIM(), max_new_tokens=8)
    assert told["answer"] == same.text and told["frames"] == 1 and "picture" in told["note"]
    assert told["tokens_per_layer"] == [list(pair) for pair in same.trace.tokens_per_layer]


def test_ask_takes_every_knob_and_the_full_model_beside(client):
    knobs = {"merge_ratio": 0.5, "l1": 2, "l2": 5, "damping": 0.2, "restart": "question", "merge_window": 2, "positions": "original"}
    knobs["merge_order"] = "official"
    tower = {"tower_merge": 0.5, "tower_reuse": 0.02}
    told = client.predict(video=handle_file(str(CLIP)), question=QUESTION, num_frames=4, compare=True, **knobs, **tower, api_name="/ask")
    assert {name: told["params"][name] for name in knobs} == knobs
    assert (told["tower"]["merge"], told["tower"]["reuse"]) == (0.5, 0.02) and 0 < told["tower_computed"] <= 1
    assert told["full"]["tower"] is None and told["cost"]["vision_tflops"] < told["full"]["cost"]["vision_tflops"]
    assert told["full"]["method"] == "full" and told["full"]["tokens_per_layer"][-1][0] == told["visual_tokens"]


def test_plan_gives_the_modelled_cost_without_a_clip(client, vlm):
    told = client.predict(question=QUESTION, merge_ratio=0.5, l1=3, l2=7, num_frames=6, tower_merge=0.3, api_name="/plan")
    method, tower = aim.AIM(merge_ratio=0.5, l1=3, l2=7), aim.Tower(merge=0.3)
    expected = vlm.plan(6, vlm.text_tokens(QUESTION), method, tower=tower).to_dict()
    assert told.pop("tokens_per_layer") == expected.pop("tokens_per_layer")
    assert told == pytest.approx(expected)


def test_a_file_of_the_server_that_was_not_uploaded_is_refused(client, app, own_clip):
    """A client library would upload the file first, so this speaks HTTP itself."""
    described = client.view_api(return_format="dict")["named_endpoints"]["/ask"]["parameters"]
    rest = [parameter["parameter_default"] for parameter in described[2:]]
    for path in (str(own_clip), "/etc/passwd", "http://127.0.0.1:1/clip.mp4"):
        video = {"path": path, "meta": {"_type": "gradio.FileData"}}
        begun = httpx.post(f"{app}gradio_api/call/ask", json={"data": [video, QUESTION, *rest]}, timeout=PATIENCE / 1000)
        told = httpx.get(f"{app}gradio_api/call/ask/{begun.json()['event_id']}", timeout=PATIENCE / 1000).text
        assert "event: error" in told and "event: complete" not in told and "root:" not in told


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"l1": 9, "l2": 3}, "l1 < l2"), ({"question": " "}, "no question"), ({"restart": "question", "damping": 0}, "damping")],
)
def test_mistakes_come_back_as_the_same_sentences_as_on_the_page(client, changes, words):
    asked = {"video": handle_file(str(CLIP)), "question": QUESTION, **changes}
    with pytest.raises(AppError) as error:
        client.predict(**asked, api_name="/ask")
    assert words in str(error.value)


def test_the_api_page_documents_two_endpoints_and_nothing_else(client):
    described = client.view_api(return_format="dict")
    assert set(described["named_endpoints"]) == {"/ask", "/plan"} and not described["unnamed_endpoints"]
    for name, parameters in (("/ask", 19), ("/plan", 9)):
        endpoint = described["named_endpoints"][name]
        assert len(endpoint["parameters"]) == parameters
        for parameter in endpoint["parameters"]:
            assert f"{parameter['parameter_name']}" in endpoint["description"], parameter["parameter_name"]
    needed = [item["parameter_name"] for item in described["named_endpoints"]["/ask"]["parameters"] if not item["parameter_has_default"]]
    assert needed == ["video", "question"]
