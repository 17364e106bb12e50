"""The words of an answer on the page: what each looked at is what the library says, and a long answer stays small."""

import base64

import numpy as np
import pytest

import aim
from aim.views.said_words import said_words
from tests.visitor import EXAMPLES, examples


@pytest.fixture(scope="module")
def answer():
    first = examples()[0]
    clip = aim.read_video(EXAMPLES / first["file"], first["frames"])
    return aim.load("bundled").ask(clip, first["question"], aim.AIM(), max_new_tokens=8, words=True)


def test_each_layer_shows_what_the_word_looked_at_token_by_token(answer):
    [word] = said_words(answer)
    assert (word["text"], word["probability"]) == (answer.text, float(f"{answer.words[0].probability:.3g}"))
    trace = answer.trace
    for layer, shown in enumerate(word["looked"]):
        if not len(trace.survivors[layer]):
            assert shown is None
            continue
        levels = np.frombuffer(base64.b64decode(shown["levels"]["data"]), np.uint8) / 255 * shown["top"]
        alive = sorted(trace.survivors[layer].tolist())
        sizes = trace.group_sizes.numpy()
        places = answer.words[0].looked_at(trace, layer).flatten().numpy()
        token = trace.assignment.flatten().numpy()
        expected = [places[np.flatnonzero(token == group)[0]] * sizes[group] for group in alive]
        assert np.abs(levels - expected).max() <= shown["top"] / 200


def test_words_without_room_keep_their_probabilities(answer):
    [word] = said_words(answer, room=10)
    assert word["looked"] is None and len(word["next"]) == 3
