"""The recommended setting: chosen by rule on validation clips, judged on test clips, and offered on the page for its own weights alone."""

import json

import aim
from aim.evaluation import recommended, stored
from aim.evaluation.recommended import FULL, candidates, chosen, recommendation, recommended_report, why
from aim.evaluation.summary import Evaluation
from aim.evaluation.tables import recommended_section
from aim.runtime.weights import bundled_digest
from aim.ui.gpu import placed
from aim.ui.knobs import name_of, presets_of
from tests.benchmark import record

CLIPS, ASKED, PER_FRAME = 60, 10, 49


def evaluation(as_good=()):
    """Records in which the full model is right, and of the candidates those `as_good`; the others miss a tenth."""
    config = aim.load("bundled", device="cpu").model.config
    records = []
    for setting in (FULL, *candidates()):
        rights = [True] * ASKED if setting == FULL or setting in as_good else [True] * (ASKED - 1) + [False]
        visual = setting.method.visual_per_layer(12, setting.frames, PER_FRAME)
        records += [record(setting, clip, rights, visual=visual) for clip in range(CLIPS)]
    return Evaluation(records, config, PER_FRAME)


def test_candidates_are_different_reduce_something_and_the_papers_is_among_them():
    settings = candidates()
    assert len(settings) == len({setting.key for setting in settings}) == 20
    assert all(setting.method.visual_per_layer(12, 8, PER_FRAME) != [8 * PER_FRAME] * 12 for setting in settings)
    assert any(setting.method == aim.AIM(merge_ratio=0.25, l1=6, l2=9) for setting in settings)


def test_the_cheapest_of_those_that_answer_as_well_is_chosen():
    cheap, dear = candidates()[-1], candidates()[0]
    assert chosen(evaluation([dear])) == dear
    assert chosen(evaluation([dear, cheap])).method.merge_ratio == 0.125
    assert chosen(evaluation()) is None


def test_without_one_that_answers_as_well_none_is_recommended_and_the_table_says_so():
    report = {"weights": "0" * 64, "clips": CLIPS} | recommended_report(evaluation(), None, None)
    assert report["chosen"] is None and "none is recommended" in recommended_section(report)


def stored_report(folder, weights):
    setting = candidates()[1]
    told = recommended_report(evaluation([setting]), setting, evaluation([setting]))
    stored.write(recommended.FILE, {"weights": weights, "clips": CLIPS} | told, folder)
    return json.loads((folder / recommended.FILE).read_text())


def test_the_page_offers_it_with_its_reason_for_the_weights_that_it_was_chosen_for(tmp_path, monkeypatch):
    monkeypatch.setattr(recommended, "read", lambda name: stored.read(name, tmp_path))
    vlm = placed(aim.load("bundled", device="cpu"))
    assert recommendation() is None and recommended.NAME not in presets_of(vlm)
    stored_report(tmp_path, "0" * 64)
    assert recommendation() is None
    report = stored_report(tmp_path, bundled_digest())
    found = report["chosen"]
    values = presets_of(vlm)[recommended.NAME]
    assert values == (found["merge_ratio"], found["l1"], found["l2"], found["positions"])
    assert name_of(vlm, *values) == recommended.NAME and name_of(vlm, 0.25, 6, 9, "compact") == "Paper"
    assert "20 settings" in why(found) and f"{found['speedup']:.1f} times fewer" in why(found) and "600 held-out questions" in why(found)
    table = recommended_section(report)
    assert table.count("| validation") == 20 and "**test, 600 questions**" in table
