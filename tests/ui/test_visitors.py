"""Many visitors at one app: who waits, who is stopped, who leaves, and that nobody meets another's things."""

import logging
import threading
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from gradio.route_utils import delete_files_created_by_app
from gradio_client import Client, handle_file

import aim
from aim.ui.page import QUEUE
from tests.engine.at_a_layer import At, layers_of
from tests.fakes import FakeVlm
from tests.page import PATIENCE, Page, wait_until
from tests.visitor import EXAMPLES, examples, needs_browser, serve

CLIP = EXAMPLES / examples()[0]["file"]


@pytest.fixture(scope="module")
def real():
    """(model, demo, address)"""
    vlm = aim.load("bundled")
    demo, address = serve(vlm)
    yield vlm, demo, address
    demo.close()


@pytest.fixture
def endless():
    """(model that does not stop by itself, demo, address)"""
    vlm = FakeVlm(words=("on ",) * 100_000, seconds=0.05)
    demo, address = serve(vlm)
    yield vlm, demo, address
    demo.close()


@pytest.fixture
def pages():
    opened = []

    def page(address, question="and then?", frames=2):
        opened.append(Page(address))
        opened[-1].upload(CLIP)
        opened[-1].set("question", question)
        opened[-1].set("frames", frames)
        return opened[-1]

    yield page
    for one in opened:
        one.close()


class Reader(threading.Thread):
    """Reads a page's messages until they end."""

    def __init__(self, messages):
        super().__init__(daemon=True)
        self.messages, self.seen = messages, []
        self.start()

    def run(self):
        with suppress(httpx.TransportError):  # hung up
            for message in self.messages:
                self.seen.append(message)

    def has(self, kind: str) -> bool:
        return any(message["msg"] == kind for message in self.seen)

    def wait_for(self, kind: str) -> None:
        wait_until(lambda: self.has(kind))


def outcomes(caplog) -> list[str]:
    return [record.getMessage().split("outcome=")[1] for record in caplog.records if record.name == "aim.runs"]


def running(demo) -> list:
    """The events Gradio works on for somebody who still listens."""
    return [event for job in demo._queue.active_jobs if job for event in job if event.alive]


@pytest.mark.parametrize(("part", "layer"), [("tower", 0), ("llm", 3)])
@pytest.mark.parametrize("leave", ["stop", "closed tab"])
def test_stop_and_a_closed_tab_end_the_run_before_the_next_layer(real, pages, caplog, part, layer, leave):
    vlm, demo, address = real
    vlm.features.clear()
    entered, go_on = threading.Event(), threading.Event()
    page = pages(address)
    caplog.set_level(logging.INFO, "aim.runs")
    with At(layers_of(vlm, part), layer, lambda: entered.set() or go_on.wait(PATIENCE)) as place:
        reader = Reader(page.press_run())
        assert entered.wait(PATIENCE)
        if leave == "stop":
            page.press_stop()
        else:
            page.hang_up()
            wait_until(lambda: not running(demo))
        go_on.set()
        wait_until(lambda: outcomes(caplog) == ["stopped"])
        assert place.reached and place.after == 0
    reader.join(PATIENCE)
    other = pages(address, examples()[0]["question"], 4)
    assert list(other.press_run())[-1]["success"]
    wait_until(lambda: outcomes(caplog) == ["stopped", "ok", "ok"])  # the setting and the full model


@pytest.mark.parametrize("leave", ["cancelled job", "closed connection"])
def test_an_api_caller_who_leaves_ends_the_run_too(real, caplog, leave):
    vlm, demo, address = real
    vlm.features.clear()
    entered, go_on = threading.Event(), threading.Event()
    caplog.set_level(logging.INFO, "aim.runs")
    client = Client(address, verbose=False)
    with At(layers_of(vlm, "llm"), 3, lambda: entered.set() or go_on.wait(PATIENCE)) as place:
        if leave == "cancelled job":
            job = client.submit(video=handle_file(str(CLIP)), question="what is it?", num_frames=2, api_name="/ask")
            assert entered.wait(PATIENCE)
            threading.Thread(target=job.cancel, daemon=True).start()
            wait_until(lambda: not running(demo))
        else:
            described = client.view_api(return_format="dict")["named_endpoints"]["/ask"]["parameters"]
            rest = [parameter["parameter_default"] for parameter in described[2:]]
            with CLIP.open("rb") as file:
                [path] = httpx.post(f"{address}gradio_api/upload", files={"files": file}).json()
            video = {"path": path, "meta": {"_type": "gradio.FileData"}}
            begun = httpx.post(f"{address}gradio_api/call/ask", json={"data": [video, "what is it?", *rest]}).json()
            with httpx.stream("GET", f"{address}gradio_api/call/ask/{begun['event_id']}", timeout=PATIENCE):
                assert entered.wait(PATIENCE)
            wait_until(lambda: not running(demo))
        go_on.set()
        wait_until(lambda: outcomes(caplog) == ["stopped"])
        assert place.reached and place.after == 0


def test_waiting_visitors_are_told_their_place_and_served_in_order(endless, pages):
    _, _, address = endless
    readers = []
    for _ in range(3):
        page = pages(address)
        readers.append((page, Reader(page.press_run())))
        readers[-1][1].wait_for("estimation")
    places = [[message["rank"] for message in reader.seen if message["msg"] == "estimation"][0] for _, reader in readers]
    assert places == [0, 0, 1]
    order = []
    for page, reader in readers:
        reader.wait_for("process_generating")
        order.append([other.has("process_generating") for _, other in readers])
        page.press_stop()
        reader.join(PATIENCE)
    assert order == [[True, False, False], [True, True, False], [True, True, True]]


def test_a_full_queue_says_so_and_lets_the_next_one_in(endless, pages, monkeypatch):
    vlm, demo, address = endless
    monkeypatch.setattr(demo._queue, "max_size", 1)
    first, second, third = (pages(address) for _ in range(3))
    reader = Reader(first.press_run())
    wait_until(lambda: vlm.said)
    waiting = Reader(second.press_run())
    waiting.wait_for("estimation")
    refused = third.join(third.after(third.event("run")))
    assert refused.status_code == 503 and "full" in refused.text
    for page, one in ((first, reader), (second, waiting)):
        one.wait_for("process_generating")
        page.press_stop()
        one.join(PATIENCE)
    last = Reader(third.press_run())
    last.wait_for("process_generating")
    third.press_stop()
    last.join(PATIENCE)


def test_the_queue_has_a_size_and_no_way_around_it(real):
    _, demo, address = real
    assert demo._queue.max_size == QUEUE["max_size"] == 16
    models = {fn.concurrency_id: fn.concurrency_limit for fn in demo.fns.values() if fn.concurrency_limit == 1}
    assert models == {"model": 1}
    for route in ("run", "api"):
        answer = httpx.post(f"{address}gradio_api/{route}/ask", json={"data": []}, timeout=PATIENCE)
        assert answer.status_code == 404 and "queue" in answer.text


def test_a_closed_tab_takes_its_state_along(real, pages):
    _, demo, address = real
    page = pages(address, examples()[0]["question"], 4)
    list(page.press_run())
    kept = demo.state_holder.session_data

    def holds_frames() -> bool:
        session = kept.get(page.session)  # Gradio takes the whole session away a little later
        return session is not None and any(getattr(value, "frames", None) is not None for value in session.state_data.values())

    assert holds_frames()
    page.close()
    wait_until(lambda: not holds_frames())


def test_uploads_and_what_was_made_of_them_are_deleted_after_an_hour_and_the_examples_stay(real, pages, own_clip):
    _, demo, address = real
    assert demo.delete_cache[1] == 3600 and demo.delete_cache[0] <= 600
    page = pages(address, examples()[0]["question"], 4)
    stored = Path(page.upload(own_clip))
    list(page.press_run())
    saved = page.at_once(page.event("export-beacon", "select"))
    files = [Path(value["path"]) for value in saved if isinstance(value, dict) and "path" in value]
    assert stored.exists() and len(files) == 3 and all(file.exists() for file in files)
    shown = [part["props"]["value"] for part in page.config["components"] if part["props"].get("elem_id") == "video"]
    delete_files_created_by_app(demo, age=0)
    assert not stored.exists() and not any(file.exists() for file in files)
    assert Path(shown[0]["video"]["path"] if "video" in shown[0] else shown[0]["path"]).exists()
    fresh = Page(address)
    assert list(fresh.press_run())[-1]["success"]
    fresh.close()


@pytest.mark.long
@needs_browser
def test_the_place_in_the_queue_is_seen_on_the_page(endless, visit):
    vlm, _, address = endless
    visitors = [visit(address) for _ in range(2)]
    for visitor in visitors:
        visitor.question.fill("and then?")
        visitor.set("frames", 2)
        visitor.tab.locator("#run").click()
        wait_until(lambda: vlm.said)
    place = visitors[1].tab.locator("#status .progress-text").filter(has_text="queue: 1/1")
    place.wait_for()
    box, inside = place.bounding_box(), visitors[1].tab.locator("#status").bounding_box()
    assert box["height"] > 10 and inside["y"] <= box["y"] and box["y"] + box["height"] <= inside["y"] + inside["height"] + 2
    for visitor in visitors:
        visitor.tab.locator("#stop").click()
        visitor.wait_for_status("Stopped")
