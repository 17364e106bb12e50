"""What a tab is, and what its events may use. The tabs themselves are the files of `aim/ui/tabs`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import gradio as gr

from aim.ui.asking import Asking
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
        seen: holds what is known of the video, a `Seen`.
    """

    vlm: AppModel
    asking: Asking
    controls: dict[str, Any]
    inputs: list[Any]
    examples: Path
    last_run: gr.State
    seen: gr.State


class Tab:
    """One tab. Each page makes its own, so a tab may keep its components as attributes.

    A tab that shows the run holds a part which the browser draws (`aim.ui.parts`). It is drawn while it is open.

    Attributes:
        title: what the tab is called on the page.
        place: the `gr.Tab` that `build` fills.
    """

    title: ClassVar[str]
    place: gr.Tab

    def build(self, vlm) -> None:
        """Fill the tab, which is open."""
        raise NotImplementedError

    def connect(self, page: Page) -> None:  # noqa: B027
        """Add the tab's own events. A tab that only shows the run needs none."""
