"""The model of the app, and another one in its place.

The choice is the process's: there is one model, and all visitors ask it. A page that was opened before the choice is told so at its next
action, and then it is loaded again.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gradio as gr

from aim.kernels.refusal import Refusal
from aim.runtime.download import Far, download, loaded_bytes
from aim.runtime.gpus import gpus_of
from aim.runtime.memory import read_held
from aim.runtime.offers import Offer, free, offers, room
from aim.runtime.vlm import VLM, load
from aim.runtime.waiting import working
from aim.runtime.weights_away import give_weights_back, take_weights_away
from aim.ui.errors import log_fault
from aim.ui.gate import Gate
from aim.ui.model import AppModel
from aim.ui.store import ClipStore
from aim.ui.swap import show
from aim.ui.texts import called

logger = logging.getLogger("aim.ui")
VARIABLE = "AIM_CHOOSE_MODEL"
_ANSWERS = {"on": True, "off": False}
_HERE = ("", "127.0.0.1", "localhost", "::1")
SUCCEEDED = "This app now answers with {name}, which was chosen on another page. Load this page again."
NO_ROOM = '"{name}" needs {needs:.1f} GB of memory, and {left:.1f} GB are free now. Choose a smaller model, or close other programs.'


class NothingToLoad(Refusal):
    """No other model than the present one was chosen."""


def may_choose(environment: dict[str, str] | None = None) -> bool:
    """Whether visitors may choose the model.

    By default they may where the app is for one person: on a machine of their own that nobody else can reach. On a Space, and where the
    host serves the page to others, they may where AIM_CHOOSE_MODEL=on says so. On ZeroGPU they never may, because models are put onto
    the GPU there before the app starts.

    Raises:
        SystemExit: the variable says neither "on" nor "off".
    """
    known = os.environ if environment is None else environment
    asked = known.get(VARIABLE, "").strip().lower()
    if asked and asked not in _ANSWERS:
        raise SystemExit(f'{VARIABLE} is {asked!r}; accepted: "on" or "off". Leave it out for the default.')
    if known.get("SPACES_ZERO_GPU"):
        return False
    if asked:
        return _ANSWERS[asked]
    shared = known.get("SPACE_ID") or known.get("SYSTEM") == "spaces" or known.get("GRADIO_SHARE", "").lower() == "true"
    return not shared and known.get("GRADIO_SERVER_NAME", "") in _HERE


@dataclass
class Tenure:
    """The time for which a page's model answers. `successor` is the name of the model that took its place."""

    successor: str = ""

    def check(self) -> None:
        """Raises Refusal: another model answers by now."""
        if self.successor:
            raise Refusal(SUCCEEDED.format(name=self.successor))

    def of(self, model: AppModel) -> AppModel:
        """The same model, which refuses to plan and to run once its time is over."""

        def plan(*arguments: Any, **options: Any):
            self.check()
            return model.plan(*arguments, **options)

        def run(job: str, stop, **arguments: Any) -> Iterator[Any]:
            self.check()
            yield from model.run(job, stop, **arguments)

        return replace(model, plan=plan, run=run)


class Chooser:
    """The loaded model of an app, and how another one takes its place.

    Args:
        vlm: the model that answers at first.
        offered: what could be chosen, the smallest first; by default `aim.runtime.offers.offers`.
        fetch: (name, far, stop) downloads a model's files, see `aim.runtime.download.download`.
        loader: (name) → the loaded model.
        limits: (device) → bytes for a model in the place of the present one, and beside it. None where the system does not tell.
    """

    def __init__(
        self,
        vlm: VLM,
        quantization: str | None = None,
        offered: Sequence[Offer] | None = None,
        fetch: Callable[..., None] = download,
        loader: Callable[[str], VLM] | None = None,
        limits: tuple[Callable, Callable] = (room, free),
    ):
        self.vlm, self.fetch = vlm, fetch
        self.loader = loader or (lambda name: load(name, quantization=None if name == "bundled" else quantization))
        self.offered = list(offers(vlm.dtype.itemsize, quantization) if offered is None else offered)
        self._room, self._free = limits
        self._tenure = Tenure()
        self.clips, self.gate = ClipStore.from_environment(), Gate()
        self.build: Callable[[VLM], gr.Blocks] | None = None
        self.running: gr.Blocks | None = None

    def seated(self, model: AppModel) -> AppModel:
        """The page's view of the present model, which refuses once another one has its place.

        All models have the same clips, and the same gate, so that a page of the model before may choose too.
        """
        return replace(self._tenure.of(model), choosable=True, clips=self.clips, gate=self.gate)

    @property
    def room(self) -> int | None:
        """Bytes for a model in the place of the present one; None where the system does not tell."""
        return self._room(self.vlm.device)

    def fitting(self) -> tuple[list[Offer], list[Offer]]:
        """What fits into the memory here, and what does not."""
        room = self.room
        fit = [offer for offer in self.offered if room is None or offer.needs <= room]
        return fit, [offer for offer in self.offered if offer not in fit]

    def offer(self, name: str | None) -> Offer:
        """The offer of that name.

        Raises:
            NothingToLoad: none is chosen, or it is not offered, or it answers already.
        """
        chosen = next((offer for offer in self.fitting()[0] if offer.name == name), None)
        if chosen is None:
            raise NothingToLoad("No model of the list is chosen. Choose one, and press Load.")
        if name == self.vlm.name:
            raise NothingToLoad("This model answers already. Choose another one.")
        return chosen

    def download(self, name: str, stop: threading.Event) -> Generator[Far, None, None]:
        """Fetch the files of a model. Yields how far that is.

        Raises:
            Refusal: it cannot be had.
            Stopped: as `stop` asked.
        """
        far = Far()
        if self.offer(name).name == "bundled":
            return
        with working(partial(self.fetch, name, far, stop), stop.set) as work:
            for _ in work.looks():
                yield replace(far)
        work.result()

    def change(self, name: str, stop: threading.Event) -> Generator[Far, None, None]:
        """Load a model in the place of the present one. Yields how far that is.

        Where both do not fit side by side, the present one's weights leave the memory first. Where the new one then cannot be loaded, they
        are loaded again.

        Raises:
            Refusal: it cannot be had. The present model is still there.
        """
        offer, present = self.offer(name), self.vlm
        with present.lock.held("a change of the model", stop.is_set):
            left = self._free(present.device)
            away = left is not None and offer.needs > left
            try:
                if away:
                    take_weights_away(present)
                    left = self._free(present.device)
                    if left is not None and offer.needs > left:
                        raise Refusal(NO_ROOM.format(name=name, needs=offer.needs / 1e9, left=left / 1e9))
                yield from self._load(offer)
            except BaseException:
                if away:
                    self._bring_back(present)
                raise
            if not away:
                take_weights_away(present)

    def _load(self, offer: Offer) -> Iterator[Far]:
        """Load it, and show its page."""
        if self.build is None or self.running is None:
            raise RuntimeError("The chooser has no page yet.")
        build, running, before = self.build, self.running, self._tenure
        before_loading = self._held()
        total = offer.weight_bytes if offer.name == "bundled" else loaded_bytes(offer.name, self.vlm.dtype.itemsize) or offer.weight_bytes
        with working(partial(self.loader, offer.name), lambda: None) as work:
            for _ in work.looks():
                grown = max(now - earlier for now, earlier in zip(self._held(), before_loading, strict=True))
                yield Far(min(total, max(0, grown)), total)
        loaded, last, self._tenure = work.result(), self.vlm, Tenure()
        try:
            self.vlm = loaded
            # In an event's own thread Gradio takes a new component for a change of an old one.
            with working(partial(build, loaded), lambda: None) as building:
                page = building.result()
        except BaseException:
            self.vlm, self._tenure = last, before
            raise
        show(running, page)
        before.successor = called(loaded.name)
        logger.info("The model is now %s.", before.successor)

    def _bring_back(self, present: VLM) -> None:
        """Load the present model's weights again. Where even that fails, the bundled model takes its place."""
        try:
            give_weights_back(present, self.loader(present.name))
        except Exception as error:
            log_fault(error)
            deque(self._load(Offer("bundled", 0, 0, "")), maxlen=0)

    def _held(self) -> tuple[int, int]:
        """Bytes in the host's memory and on the GPUs. Weights pass through the first on their way to the second."""
        gpus = gpus_of(self.vlm.model)
        return read_held() or 0, (read_held(gpus) or 0) if gpus else 0
