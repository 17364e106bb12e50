"""The example clips: a folder with an `examples.json`, a list of {"file", "question", "answer"}, "frames" and "shows"."""

from __future__ import annotations

import filecmp
import json
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "assets" / "examples"


@dataclass(frozen=True)
class Example:
    """A clip with a question. `frames` is how many frames the question needs, None where any number will do.

    `shows` is what is to be seen in it, in a sentence.
    """

    path: Path
    question: str
    frames: int | None = None
    shows: str = ""


def load_examples(folder: Path) -> list[Example]:
    """The examples whose files are there. Without an `examples.json` there are none."""
    index = folder / "examples.json"
    entries = json.loads(index.read_text(encoding="utf-8")) if index.exists() else []
    return [
        Example(folder / entry["file"], entry["question"], entry.get("frames"), entry.get("shows", ""))
        for entry in entries
        if (folder / entry["file"]).exists()
    ]


def example_of(video: str, folder: Path) -> str | None:
    """The file name of the example that this video is a copy of. None for any other video, even one of the same name."""
    known = {example.path.name: example.path for example in load_examples(folder)}
    name = Path(video).name
    return name if name in known and filecmp.cmp(video, known[name], shallow=False) else None
