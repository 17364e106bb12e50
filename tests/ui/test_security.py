"""A hostile visitor: no file or address within the server's reach, no markup, no size without limit, nothing told to anybody."""

import json
import os
import socket
from pathlib import Path

import httpx
import pytest

from tests.page import PATIENCE, Page
from tests.visitor import CHROMIUM, EXAMPLES, examples, needs_browser, serve

ROOT = Path(__file__).parents[2]
SECRET = "swordfish"


@pytest.fixture(scope="module")
def secret(tmp_path_factory):
    """A file of the server's, a real video, outside of everything it may serve."""
    path = tmp_path_factory.mktemp("host") / "secret.mp4"
    path.write_bytes((EXAMPLES / examples()[0]["file"]).read_bytes() + SECRET.encode())
    return path


@pytest.fixture(scope="module")
def http(app):
    with httpx.Client(base_url=app, timeout=PATIENCE, follow_redirects=True) as client:
        yield client


def paths(secret: Path) -> list[str]:
    own = ["app.py", "aim/runtime/vlm.py", "README.md", "assets/shapes-vlm/config.json"]
    steps = [f"assets/examples/../../{file}" for file in own] + [f"{EXAMPLES}/../../{file}" for file in own]
    return ["/etc/passwd", str(secret), *own, *(str(ROOT / file) for file in own), *steps, f"..{secret}", f"/tmp/gradio/../..{secret}"]


def test_no_route_hands_out_a_file_of_the_server(http, secret):
    routes = ("gradio_api/file=", "gradio_api/file/", "file=", "static/", "assets/", "svelte/", "gradio_api/custom_component/1/x/", "")
    for route in routes:
        for path in paths(secret):
            for written in (path, path.replace("/", "%2f"), path.replace("..", "%2e%2e"), path.replace("/", "%5c")):
                answer = http.get(route + written)
                text = answer.content.decode("utf-8", "replace")
                assert SECRET not in text and "root:x" not in text and "max_position_embeddings" not in text, route + written
                assert "import load_model" not in text and "class VLM" not in text, route + written


def test_what_may_be_served_is(http):
    example = EXAMPLES / examples()[0]["file"]
    assert http.get(f"gradio_api/file={example}").content == example.read_bytes()


def test_the_server_fetches_nothing_on_a_visitors_behalf(http):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.2)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/clip.mp4"
        for route in ("gradio_api/proxy=", "gradio_api/file="):
            assert http.get(route + address, follow_redirects=False).status_code >= 300
        told = ask(http, {"path": address, "url": address, "meta": {"_type": "gradio.FileData"}})
        assert "event: error" in told
        with pytest.raises(TimeoutError):
            listening.accept()


def ask(http, video) -> str:
    """What `/ask` says to a payload that no client library has looked at."""
    begun = http.post("gradio_api/call/ask", json={"data": [video, "what is it?", *defaults(http)]})
    if begun.status_code != 200:
        return begun.text
    return http.get(f"gradio_api/call/ask/{begun.json()['event_id']}").text


def defaults(http) -> list:
    described = http.get("gradio_api/info").json()["named_endpoints"]["/ask"]["parameters"]
    return [parameter["parameter_default"] for parameter in described[2:]]


def test_no_endpoint_reads_a_path_that_was_not_uploaded(http, secret):
    kind = {"meta": {"_type": "gradio.FileData"}}
    for path in paths(secret):
        for video in ({"path": path, **kind}, {"path": path}, path, {"video": {"path": path, **kind}}, {"url": f"file://{path}", **kind}):
            told = ask(http, video)
            assert "event: complete" not in told and "Traceback" not in told and SECRET not in told, (path, told)


def test_the_pages_own_events_do_not_either(app, secret):
    """They are private, but anybody may call them by number."""
    page = Page(app)
    page.set("video", {"path": str(secret), "meta": {"_type": "gradio.FileData"}})
    page.set("question", "what is it?")
    assert not list(page.press_run())[-1]["success"]
    upload = page.event("upload", "upload")
    page.set("upload", {"path": str(secret), "meta": {"_type": "gradio.FileData"}})
    answer = page.http.post(
        "gradio_api/run/predict",
        json={"data": [page.values[page.by_name["upload"]]], "fn_index": upload["id"], "session_hash": page.session},
    )
    assert answer.status_code != 200 or "secret.mp4" not in answer.text
    page.close()


def test_an_uploads_name_cannot_leave_its_folder(http, tmp_path):
    for name in ("../../../../tmp/aim-escaped.mp4", "/tmp/aim-escaped.mp4", "..\\..\\aim-escaped.mp4", "a/../../aim-escaped.mp4"):
        answer = http.post("gradio_api/upload", files={"files": (name, b"not a video")})
        for stored in answer.json() if answer.status_code == 200 else []:
            stored = Path(stored)
            assert stored.resolve().parent.parent == Path(os.environ.get("GRADIO_TEMP_DIR", "/tmp/gradio")).resolve()
    assert not Path("/tmp/aim-escaped.mp4").exists()


def test_an_upload_over_the_limit_is_refused(monkeypatch):
    from aim.ui import page
    from tests.fakes import FakeVlm

    options = page.launch_options()
    assert options["max_file_size"] == "100mb"
    monkeypatch.setattr(page, "launch_options", lambda: {**options, "max_file_size": "1mb"})
    demo, address = serve(FakeVlm())
    try:
        for size, status in ((10**6 // 2, 200), (2 * 10**6, 413)):
            answer = httpx.post(f"{address}gradio_api/upload", files={"files": ("clip.mp4", b"\0" * size)}, timeout=PATIENCE)
            assert answer.status_code == status
    finally:
        demo.close()


@needs_browser
def test_what_a_visitor_types_is_text_everywhere_on_the_page(tab):
    assert CHROMIUM is not None
    visitor = tab()
    visitor.tab.evaluate("window.fired = false")
    visitor.question.fill('<img src="x:" onerror="window.fired=true"> <script>window.fired=true</script> what colour?')
    visitor.run()
    for tab in ("Layers", "Moments", "Cost", "Export"):
        visitor.open(tab)
    visitor.tab.wait_for_function("document.querySelector('#link textarea, #link input')?.value?.startsWith('http')")
    assert visitor.tab.evaluate("window.fired") is False
    assert visitor.tab.locator('img[src="x:"]').count() == 0
    report = visitor.download("#report").read_text()
    assert "<script>window.fired" not in report and 'src="x:"' not in report
    json.loads(visitor.download("#trace").read_text())
