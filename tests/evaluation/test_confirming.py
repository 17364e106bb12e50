"""`python -m aim eval --confirm`: a file of earlier code is kept where its first clips are answered as before, and in no other case."""

from dataclasses import replace

import pytest

import aim
from aim.commands import confirm as command
from aim.evaluation import stored
from aim.evaluation.confirming import ANSWERS, CONFIRMED, confirmed, digests
from aim.evaluation.recorded import RECORDED
from aim.evaluation.run import run
from aim.evaluation.settings import Setting
from aim.kernels.refusal import Refusal
from tests.benchmark import record, untrained

SETTINGS = [Setting(aim.Full(), 1), Setting(aim.AIM(merge_ratio=0.25, l1=6, l2=9), 1)]
CLIPS = 4


@pytest.fixture
def records():
    return [record(setting, clip, [True, clip % 2 == 0]) for setting in SETTINGS for clip in range(CLIPS)]


@pytest.fixture
def report(records):
    return {"weights": "w", "code": "old", "earlier": ["code"], "questions": 8, ANSWERS: digests(records)}


def first(records):
    return lambda clips: [one for one in records if one.clip < clips]


def test_a_digest_tells_answers_counts_and_recall_apart_and_no_times(records):
    kept = digests(records)
    assert len(kept) == CLIPS and kept == digests(list(reversed(records)))
    outcome = records[1].outcomes[0]
    for other in (replace(outcome, answer="other"), replace(outcome, recall=[0.5])):
        changed = [*records[:1], replace(records[1], outcomes=[other, *records[1].outcomes[1:]]), *records[2:]]
        assert [before == after for before, after in zip(kept, digests(changed), strict=True)] == [True, False, True, True]
    assert digests([replace(records[0], visual_per_layer=[1] * 12), *records[1:]])[0] != kept[0]
    assert digests([replace(one, milliseconds=9.0) for one in records]) == kept


def test_a_report_whose_first_clips_are_answered_as_before_gets_the_present_hash_and_says_so(records, report):
    kept, why = confirmed(report, "new", 2, first(records))
    assert kept == {
        "weights": "w",
        "code": "new",
        "questions": 8,
        ANSWERS: report[ANSWERS],
        CONFIRMED: {"clips": 2, "measured_with": "old"},
    }
    assert "2 clips" in why
    again, _ = confirmed(kept, "newer", CLIPS + 5, first(records))
    assert again["code"] == "newer" and again[CONFIRMED] == {"clips": CLIPS, "measured_with": "old"}


def test_one_other_answer_among_the_first_clips_is_enough_and_the_clip_is_named(records, report):
    wrong = [replace(one, outcomes=[replace(one.outcomes[0], answer="x"), *one.outcomes[1:]]) if one.clip == 1 else one for one in records]
    kept, why = confirmed(report, "new", 3, first(wrong))
    assert kept is None and "clip 1 " in why


def test_a_report_without_digests_is_not_kept(records, report):
    del report[ANSWERS]
    kept, why = confirmed(report, "new", 2, first(records))
    assert kept is None and "measure it again" in why


@pytest.mark.long
def test_the_command_measures_anew_and_keeps_only_what_still_holds(tmp_path, monkeypatch):
    vlm = untrained(tmp_path / "model")
    monkeypatch.setattr(command, "load", lambda *_given, **_named: vlm)
    monkeypatch.setattr(command, "weights_digest", lambda _model: "w")
    monkeypatch.setattr(command, "RECORDED", dict.fromkeys(RECORDED, lambda _vlm: (SETTINGS, None)))
    true = digests(run(vlm, SETTINGS, 2, folder=tmp_path / "answers", processes=1, progress=False))
    for name, answers in {"accuracy.json": true, "board.json": [true[0], "0" * 16]}.items():
        stored.write(name, {"weights": "w", "code": "old", ANSWERS: answers}, tmp_path)
    told = command.confirm("bundled", 2, 1, tmp_path / "work", tmp_path)
    assert "accuracy.json is kept" in told and "findings.json was not measured yet" in told and "board.json is not kept" in told
    assert stored.read("accuracy.json", tmp_path)["code"] != "old" and stored.read("board.json", tmp_path)["code"] == "old"
    assert "accuracy.json is of the present code" in command.confirm("bundled", 2, 1, tmp_path / "work", tmp_path)
    monkeypatch.setattr(command, "weights_digest", lambda _model: "others")
    assert "board.json is of earlier weights" in command.confirm("bundled", 2, 1, tmp_path / "work", tmp_path)


@pytest.mark.parametrize(("given", "reason"), [(("llava", 6), "bundled model"), (("bundled", 1), "accepted: 2 or more")])
def test_another_model_or_a_single_clip_is_refused(given, reason):
    with pytest.raises(Refusal, match=reason):
        command.confirm(*given, 1, None)
