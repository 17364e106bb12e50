"""What a tab is, and what its events may use. The tabs themselves are the files of `aim/ui/tabs`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import gradio as gr
from gradio.events import Dependency

from aim.ui.asking import Asking
from aim.ui.handlers import FinishedRun
from aim.ui.model import AppModel


@dataclass(frozen=True)
class Page:
    """What the events of a tab may read, set and follow.

    Attributes:
        asking: the video, the question and their buttons.
        controls: the knobs by their names in `FIELDS`, and `preset`, `plan` and `guard`.
        inputs: the components of a `Request`, in the order of its fields.
        examples: the folder of the example clips.
        last_run: holds the visitor's last `FinishedRun`, or None.
        drawn: the event after which every tab shows the last run.
        seen: holds what is known of the video, a `Seen`.
    """

    vlm: AppModel
    asking: Asking
    controls: dict[str, Any]
    inputs: list[Any]
    examples: Path
    last_run: gr.State
    drawn: Dependency
    seen: gr.State


class Tab:
    """One tab. Each page makes its own, so a tab may keep its components as attributes.

    Attributes:
        title: what the tab is called on the page.
        needs_run: whether the tab can be opened only after a run.
        outputs: the components that `draw` fills.
        placeholder: what stands in the tab until there is a run, if anything.
        place: the `gr.Tab` that `build` fills.
    """

    title: ClassVar[str]
    needs_run: ClassVar[bool] = False
    outputs: Sequence[gr.components.Component] = ()
    placeholder: gr.HTML | None = None
    place: gr.Tab

    def build(self, vlm) -> None:
        """Fill the tab, which is open. A tab that shows a run sets `outputs` here."""
        raise NotImplementedError

    def draw(self, run: FinishedRun) -> list[Any]:
        """One value for each of `outputs`. It runs after every run, without the model."""
        return []

    def connect(self, page: Page) -> None:  # noqa: B027
        """Add the tab's own events. A tab that only draws needs none."""
