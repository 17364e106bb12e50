"""What the page reads of an examples folder."""

import json

from aim.ui.examples import Example, load_examples


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
