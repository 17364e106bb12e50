"""What the page reads of an examples folder."""

import base64
import io
import json

import numpy as np
from PIL import Image

from aim.ui.examples import FOLDER, Example, load_examples
from aim.ui.strip import poster


def test_an_example_brings_the_line_that_says_what_it_shows_and_a_missing_file_is_left_out(tmp_path):
    entry = {"question": "How many?", "answer": "two", "frames": 8, "shows": "Two stay two."}
    old = {"file": "old.mp4", "question": "Who?", "answer": "none"}
    (tmp_path / "examples.json").write_text(json.dumps([{"file": "new.mp4", **entry}, old, {"file": "gone.mp4", **entry}]))
    for name in ("new.mp4", "old.mp4"):
        (tmp_path / name).write_bytes(b"")
    assert load_examples(tmp_path) == [
        Example(tmp_path / "new.mp4", "How many?", 8, "Two stay two."),
        Example(tmp_path / "old.mp4", "Who?", None, ""),
    ]


def test_the_poster_of_a_clip_that_starts_empty_shows_what_comes():
    written = base64.b64decode(poster(FOLDER / "when.mp4").partition(",")[2])
    spread = np.asarray(Image.open(io.BytesIO(written)).convert("L")).astype(float)
    assert np.ptp(spread) > 100  # the empty background is of one colour
