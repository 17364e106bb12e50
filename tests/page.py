"""The app's page without a browser: what its JavaScript says to the server, over HTTP, so that many can be open at once."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx

PATIENCE = 60


class Page:
    """One tab: a session of its own, kept alive by a heartbeat until `close`."""

    def __init__(self, address: str):
        self.address, self.session = address, uuid4().hex
        self.http = httpx.Client(base_url=address, timeout=PATIENCE)
        self.config = self.http.get("config").json()
        self.by_name = {part["props"]["elem_id"]: part["id"] for part in self.config["components"] if part["props"].get("elem_id")}
        self.values = {part["id"]: part["props"].get("value") for part in self.config["components"]}
        self.gone, self.line = threading.Event(), None
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        with httpx.stream("GET", f"{self.address}gradio_api/heartbeat/{self.session}", timeout=None) as stream:
            for _ in stream.iter_lines():
                if self.gone.is_set():
                    return
                # The next line comes in many seconds; looking at the event instead closes the connection at once.
                self.gone.wait()
                return

    def set(self, name: str, value) -> None:
        self.values[self.by_name[name]] = value

    def upload(self, path: Path) -> str:
        """Upload a file and put it into the video's place; its path on the server."""
        with path.open("rb") as file:
            [stored] = self.http.post("gradio_api/upload", files={"files": (path.name, file)}).raise_for_status().json()
        self.set("video", {"path": stored, "meta": {"_type": "gradio.FileData"}})
        return stored

    def event(self, name: str, kind: str = "click", to: str | None = None) -> dict:
        """The event that a component's click or change begins, the first that sets the component `to` where there are several."""
        begun = (one for one in self.config["dependencies"] if [self.by_name[name], kind] in one["targets"] and one["backend_fn"])
        return next(one for one in begun if to is None or self.by_name[to] in one["outputs"])

    def after(self, event: dict) -> dict:
        """What follows an event that succeeded."""
        follows = (one for one in self.config["dependencies"] if one["trigger_after"] == event["id"])
        return next(one for one in follows if one["trigger_only_on_success"])

    def join(self, event: dict) -> httpx.Response:
        data = [self.values[place] for place in event["inputs"]]
        body = {"data": data, "fn_index": event["id"], "session_hash": self.session, "event_data": None, "trigger_id": None}
        return self.http.post("gradio_api/queue/join", json=body)

    def messages(self) -> Iterator[dict]:
        """What the server sends about this session's events, until it has no more to say."""
        with self.http.stream("GET", "gradio_api/queue/data", params={"session_hash": self.session}) as stream:
            self.line = stream.extensions["network_stream"].get_extra_info("socket")
            for line in stream.iter_lines():
                if line.startswith("data:"):
                    message = json.loads(line.removeprefix("data:"))
                    if message["msg"] == "close_stream":
                        return
                    yield message

    def do(self, event: dict) -> list[dict]:
        """Run an event to its end."""
        self.join(event).raise_for_status()
        return list(self.messages())

    def press_run(self) -> Iterator[dict]:
        """Run, as far as the answer: the messages while it grows. Closing the iterator drops the connection, as a closed tab does."""
        begun = self.event("run")
        self.at_once(begun)
        self.join(self.after(begun)).raise_for_status()
        yield from self.messages()

    def at_once(self, event: dict) -> list:
        """The values of an event that does not go through the queue."""
        data = [self.values[place] for place in event["inputs"]]
        body = {"data": data, "fn_index": event["id"], "session_hash": self.session}
        return self.http.post("gradio_api/run/predict", json=body).raise_for_status().json()["data"]

    def drag(self) -> list:
        """What a live run gives for the present values: those of its outputs."""
        return self.at_once(self.event("screen", "select"))

    def press_stop(self) -> None:
        """Stop does not go through the queue, so it is a plain request."""
        self.at_once(self.event("stop"))

    def hang_up(self) -> None:
        """As the browser does when a tab is closed while messages are awaited, from any thread."""
        self.gone.set()
        if self.line is not None:
            self.line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.gone.set()
        self.http.close()


def wait_until(true, seconds: float = PATIENCE) -> None:
    """Look again and again, for as long as a busy machine may need."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError("It did not come true.")
        time.sleep(0.02)
