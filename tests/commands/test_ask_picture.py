"""`python -m aim ask` and a picture, and the method Mask: what is printed, and what is refused in one line."""

import json

import numpy as np
import pytest
from PIL import Image

from aim.commands.main import main

QUESTION = "what colour is the circle?"


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "picture.jpg"
    Image.fromarray(np.full((90, 120, 3), 200, np.uint8)).save(path)
    return path


def test_a_picture_is_answered_as_one_frame_and_the_note_says_what_to_think_of_it(picture, capsys):
    main(["ask", str(picture), QUESTION, "--method", "mask", "--mask-places", "0,1,2", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["answer"] and said["frames"] == said["steps"] == 1
    assert (said["visual_tokens"], said["merged_tokens"]) == (196, 193)
    assert said["params"] == {"mask_places": [0, 1, 2], "mask_frames": None, "mask_mode": "without"}
    assert "has learnt from clips alone" in said["note"]


def test_words_are_told_with_their_probabilities_where_they_are_asked_for(picture, capsys):
    main(["ask", str(picture), QUESTION, "--words", "--json"])
    word = json.loads(capsys.readouterr().out)["words"][0]
    main(["ask", str(picture), QUESTION, "--words"])
    told = capsys.readouterr().out.splitlines()
    second = word["tokens"][0]["next_best"][0]
    line = next(line for line in told if ", then " in line)
    start, rest = line.split(", then ")
    assert told[0].split()[0] == word["text"] and start.split("  ")[0] == word["text"]
    assert float(start.split("  ")[1].rstrip("%")) == pytest.approx(100 * word["probability"], abs=0.1)
    assert rest.startswith(f"{second['text']} ") and rest.count("%") == 5
    main(["ask", str(picture), QUESTION])
    assert ", then " not in capsys.readouterr().out


def test_a_mask_that_leaves_nothing_is_one_line(picture, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["ask", str(picture), QUESTION, "--method", "mask", "--mask-frames", "0"])
    printed = capsys.readouterr()
    assert stopped.value.code == 2 and printed.out == ""
    assert printed.err.splitlines()[-1].startswith("aim: The mask leaves no visual token, because all 196 visual tokens are chosen;")


@pytest.mark.parametrize("frames", ["0", "-3", "513"])
def test_a_number_of_frames_that_no_video_has_is_refused_for_a_picture_too(picture, capsys, frames):
    for command in ("ask", "compare"):
        with pytest.raises(SystemExit):
            main([command, str(picture), QUESTION, "--frames", frames])
        assert capsys.readouterr().err.splitlines()[-1].startswith(f"aim: num_frames is {frames}; accepted: a whole number from 1 to 512")
