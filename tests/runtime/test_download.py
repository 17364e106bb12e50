"""Downloading a checkpoint, from a small server on this machine that answers as the Hub does."""

import hashlib
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import huggingface_hub
import pytest
from huggingface_hub import constants, hf_api

from aim.engine.stopping import Stopped
from aim.kernels.refusal import Refusal
from aim.runtime import download as module
from aim.runtime.download import Far, download

NAME, COMMIT = "tiny/model", "0" * 40
FILES = {"config.json": b'{"model_type": "qwen2_vl"}', "model.safetensors": os.urandom(3_000_000), "pytorch_model.bin": b"pickle"}


class Hub(BaseHTTPRequestHandler):
    """`breaks` ends the connection in the middle of the weights; `asked` are the names of the files that were sent."""

    breaks = False
    asked: list[str] = []
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        path = self.path.split("?")[0]
        if path.startswith("/api/"):
            files = [{"rfilename": name, "size": len(content), "blobId": etag(content)} for name, content in FILES.items()]
            tree = [{"type": "file", "path": name, "size": len(content), "oid": etag(content)} for name, content in FILES.items()]
            told = tree if "/tree/" in path else {"id": NAME, "modelId": NAME, "sha": COMMIT, "siblings": files}
            return self.send(json.dumps(told).encode(), {"Content-Type": "application/json"}, body)
        name = path.rsplit("/", 1)[-1]
        content = FILES.get(name)
        if content is None:
            return self.send(b"", {"X-Error-Code": "EntryNotFound"}, body, 404)
        if body:
            type(self).asked.append(name)
        self.send(content, {"ETag": f'"{etag(content)}"', "X-Repo-Commit": COMMIT}, body)

    def send(self, content: bytes, headers: dict[str, str], body: bool, status: int = 200) -> None:
        self.send_response(status)
        for name, value in headers.items() | {("Content-Length", str(len(content)))}:
            self.send_header(name, value)
        self.end_headers()
        if body and self.breaks and len(content) > 10**6:
            self.wfile.write(content[: len(content) // 2])
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()
        elif body:
            self.wfile.write(content)


def etag(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """The class that answers. The Hub's cache is an empty folder."""
    handler = type("Handler", (Hub,), {"asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    for name, value in {"HF_HUB_OFFLINE": False, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_DISABLE_XET": True, "ENDPOINT": address}.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(hf_api.api, "endpoint", address)
    huggingface_hub.close_session()
    yield handler
    server.shutdown()
    server.server_close()
    huggingface_hub.close_session()


def test_what_loading_reads_is_downloaded_once_and_its_bytes_are_counted(hub, tmp_path):
    far = Far()
    download(NAME, far, threading.Event())
    total = len(FILES["config.json"]) + len(FILES["model.safetensors"])
    assert (far.done, far.total) == (total, total)
    folder = tmp_path / "models--tiny--model" / "snapshots" / COMMIT
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {name: FILES[name] for name in FILES if "pytorch" not in name}
    assert sorted(hub.asked) == ["config.json", "model.safetensors"]
    again = Far()
    download(NAME, again, threading.Event())
    assert again == Far() and len(hub.asked) == 2


@pytest.mark.whole
def test_a_download_that_breaks_off_is_refused_with_a_sentence(hub):
    hub.breaks = True
    far = Far()
    with pytest.raises(Refusal, match='Only a part of "tiny/model" is on this machine, and the Hub cannot be reached. Check the network'):
        download(NAME, far, threading.Event())
    assert 0 < far.done < far.total


def test_a_stop_ends_a_download(hub):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        download(NAME, Far(), stop)


def test_a_disk_without_room_is_told_before_anything_arrives(hub, monkeypatch):
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(Refusal, match='"tiny/model" takes 0.0 GB on disk, which has 0.0 GB left.'):
        download(NAME, Far(), threading.Event())
    assert hub.asked == []


def test_without_a_network_nothing_is_downloaded():
    far = Far()
    download("tiny/never-seen", far, threading.Event())
    assert far == Far()
