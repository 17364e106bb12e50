"""The first result of the page was stored. It is what the bundled model says today."""

import json

import pytest

import aim
from aim.ui.examples import FOLDER, load_examples
from aim.ui.gpu import placed
from aim.ui.opening import FILE, fresh, opening
from tests.fakes import FakeVlm


@pytest.mark.long
def test_the_stored_first_result_is_that_of_a_fresh_run():
    stored, made = json.loads(FILE.read_text()), json.loads(json.dumps(fresh(placed(aim.load("bundled")))))
    assert list(stored) == list(made)
    for name in ("asked", "answer", "words", "full", "same", "note", "picture", "setting", "plan"):
        if name == "words":  # rounding differs between machines, and so do the last digits of a probability
            assert [one["text"] for one in stored[name]] == [one["text"] for one in made[name]]
        else:
            assert stored[name] == made[name], name
    for name in ("assignment", "anchors", "last_layer", "start_frame", "times", "layers", "frames", "rows", "columns"):
        assert stored["run"][name] == made["run"][name], name
    counted = [fact[0] for fact in stored["facts"] if fact[1] != "measured"]
    assert counted == [fact[0] for fact in made["facts"] if fact[1] != "measured"]


def test_it_says_nothing_of_the_pace_of_this_app_and_another_model_says_that_it_was_stored():
    shown = opening(placed(FakeVlm()), load_examples(FOLDER))
    assert "pace" not in shown and shown["asked"] is None and "Press Run to ask fake/model" in shown["note"]
    model = FakeVlm()
    model.name = "/srv/models/own"
    assert opening(placed(model), load_examples(FOLDER))["note"].endswith("Press Run to ask own.")
