"""Methods side by side at equal cost: each run as if alone, each figure a second way."""

from __future__ import annotations

import json
import re
import threading
from math import log

import pytest
import torch

import aim
from aim.kernels.refusal import Refusal
from aim.runtime.compare import compare, divergence
from aim.runtime.faults import NotEnoughMemory
from aim.views.line_styles import style_of
from aim.views.overlap import overlap_table
from aim.views.side_by_side import FATES, comparison_chart, comparison_lines, comparison_table, comparison_text, kept_keys, kept_sheet
from tests.visitor import EXAMPLES

QUESTION = "How many shapes are there?"


@pytest.fixture(scope="module")
def vlm():
    return aim.load("bundled")


@pytest.fixture(scope="module")
def clip():
    return aim.read_video(EXAMPLES / "colour.mp4", num_frames=8)


@pytest.fixture(scope="module")
def stages(vlm, clip):
    return list(compare(vlm, clip, QUESTION, max_new_tokens=4, rounds=2))


@pytest.fixture(scope="module")
def comparison(stages):
    return stages[-1]


def test_it_grows_by_one_run_at_a_time_and_ends_complete(stages):
    assert [len(stage.runs) for stage in stages] == [*range(1, len(aim.methods.COMPARABLE) + 1), len(aim.methods.COMPARABLE)]
    assert [stage.complete for stage in stages] == [False] * len(aim.methods.COMPARABLE) + [True]


def test_every_method_is_there_and_the_full_model_first(comparison):
    names = [run.answer.method.name for run in comparison.runs]
    assert names[0] == "full" and sorted(names) == sorted(aim.methods.COMPARABLE)


def test_the_budget_is_what_the_papers_setting_takes_and_is_met_where_steps_are_fine(vlm, clip, comparison):
    paper = vlm.ask(clip, QUESTION, aim.AIM(), max_new_tokens=1)
    assert comparison.tflops == pytest.approx(paper.cost["prefill_tflops"], rel=1e-9)
    for run in comparison.runs[1:]:
        fine = run.answer.method.name in ("aim", "fastv", "pdrop", "prumerge", "random", "evs", "divprune")
        assert run.answer.cost["prefill_tflops"] == pytest.approx(comparison.tflops, rel=0.01 if fine else 0.25), run.answer.method


def test_each_answer_is_that_of_the_method_alone(vlm, clip, comparison):
    for run in comparison.runs:
        alone = vlm.ask(clip, QUESTION, run.answer.method, max_new_tokens=4)
        assert alone.text == run.answer.text
        assert alone.trace.tokens_per_layer == run.answer.trace.tokens_per_layer


def test_divergence_and_agreement_are_those_of_plain_forwards(vlm, clip, comparison):
    inputs = vlm.inputs(QUESTION, vlm.encode(clip.frames))
    distributions = []
    for run in comparison.runs:
        with torch.no_grad(), aim.reduce(vlm.model, run.answer.method):
            distributions.append(vlm.model(**inputs).logits[0, -1].double().softmax(-1))
    full = distributions[0]
    for run, other in zip(comparison.runs, distributions, strict=True):
        expected = sum(float(p) * (float(p.log()) - float(q.log())) for p, q in zip(full, other, strict=True) if p > 0)
        assert run.divergence == pytest.approx(expected, rel=1e-3, abs=1e-5)
        assert run.agrees == (int(full.argmax()) == int(other.argmax()))


def test_overlap_counts_shared_places_over_all_places(comparison):
    layer = 2
    kept = []
    for run in comparison.runs:
        trace = run.answer.trace
        kept.append({int(trace.anchors[token]) for token in trace.survivors[layer].tolist()})
    for one, row in zip(kept, comparison.overlap(layer).tolist(), strict=True):
        for other, share in zip(kept, row, strict=True):
            union = one | other
            assert (share != share) if not union else share == len(one & other) / len(union)


def test_a_merged_tokens_place_is_one_of_its_own_patches(comparison):
    """FlashVID may put two tokens at one place, and the patch there belongs to one of them."""
    for run in comparison.runs:
        trace = run.answer.trace
        owners = trace.assignment.flatten()[trace.anchors]
        assert torch.equal(trace.anchors[owners], trace.anchors)
        assert torch.equal(owners.unique(), torch.arange(trace.merged_tokens)) or run.answer.method.name == "flashvid"


def test_timing_rounds_take_turns_and_leave_the_answers_alone(vlm, clip, monkeypatch):
    order = []
    stream = vlm.stream

    def noted(clip, question, method, *arguments, **options):
        order.append(method.name)
        return stream(clip, question, method, *arguments, **options)

    monkeypatch.setattr(vlm, "stream", noted)
    *_, comparison = compare(vlm, clip, QUESTION, ["aim", "vtw"], max_new_tokens=2, rounds=3)
    assert order == ["full", "aim", "vtw"] * 3
    assert [len(run.prefill_seconds) for run in comparison.runs] == [2, 2, 2]


def test_stop_ends_it_with_what_is_done(vlm, clip):
    stop, seen = threading.Event(), []
    for stage in compare(vlm, clip, QUESTION, ["aim", "fastv"], max_new_tokens=2, stop=stop):
        seen.append(stage)
        stop.set()
    assert [len(stage.runs) for stage in seen] == [1] and not seen[0].complete


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["magic"]}, 'accepted: a list with one or more of "aim"'),
        ({"methods": []}, "accepted: a list with one or more"),
        ({"methods": ["full"]}, "accepted: a list with one or more"),
        ({"rounds": 0}, "at least once"),
        ({"tflops": -1.0}, "above 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(vlm, clip, options, message):
    with pytest.raises(Refusal, match=message):
        list(compare(vlm, clip, QUESTION, **options))


def test_a_method_that_cannot_take_the_clip_is_left_out_and_says_why(vlm):
    one_frame = aim.read_video(EXAMPLES / "colour.mp4", num_frames=1)
    *_, comparison = compare(vlm, one_frame, QUESTION, ["fewerframes", "fastv"], max_new_tokens=1, rounds=1)
    assert [run.answer.method.name for run in comparison.runs] == ["full", "fastv"] and comparison.complete
    [told] = comparison.left_out
    assert "accepted: a clip of 2 frames or more" in told and comparison.to_dict()["left_out"] == [told]
    assert f"Left out: {told}" in comparison_table(comparison) and f"left out: {told}" in comparison_text(comparison)
    assert comparison.only(["fastv"]).left_out == comparison.left_out
    with pytest.raises(Refusal, match="a clip of 2 frames or more"):
        list(compare(vlm, one_frame, QUESTION, ["fewerframes"]))


def test_a_method_that_turns_out_to_refuse_the_clip_is_left_out_and_memory_that_runs_out_ends_all(vlm, clip, monkeypatch):
    def refusing(kind):
        def merge(*_arguments):
            raise kind("This clip is nothing for it.")

        monkeypatch.setattr(aim.FastV, "merge", merge)
        return list(compare(vlm, clip, QUESTION, ["fastv", "vtw"], max_new_tokens=1, rounds=1))[-1]

    comparison = refusing(Refusal)
    assert [run.answer.method.name for run in comparison.runs] == ["full", "vtw"]
    assert comparison.left_out == ("This clip is nothing for it.",)
    with pytest.raises(NotEnoughMemory):
        refusing(NotEnoughMemory)


def test_divergence_of_a_distribution_from_itself_is_zero_and_is_not_symmetric():
    one, other = torch.tensor([0.5, 0.25, 0.25]).log(), torch.tensor([0.9, 0.05, 0.05]).log()
    assert divergence(one, one) == 0
    assert divergence(one, other) == pytest.approx(0.5 * log(0.5 / 0.9) + 0.5 * log(5), rel=1e-6)
    assert divergence(one, other) != divergence(other, one)
    assert divergence(torch.tensor([1.0, 0.0]).log(), torch.tensor([0.5, 0.5]).log()) == pytest.approx(0.693147, rel=1e-5)


class TestViews:
    def test_the_table_has_a_row_a_method_and_escapes_what_the_model_said(self, comparison):
        from dataclasses import replace

        said = replace(comparison.runs[1], answer=replace(comparison.runs[1].answer, text="<b>x</b>"))
        table = comparison_table(replace(comparison, runs=(comparison.runs[0], said)))
        assert table.count("<tr>") == 3
        assert "&lt;b&gt;x&lt;/b&gt;" in table and "<b>x</b>" not in table

    def test_the_chart_has_each_methods_tokens(self, comparison):
        figure = comparison_chart(comparison)
        lines, markers = ([trace for trace in figure.data if trace.mode == mode] for mode in ("lines", "markers"))
        names = [type(run.answer.method).__name__ for run in comparison.runs]
        assert [line.name for line in lines] == [marker.name for marker in markers] == names
        counts = [[visual for visual, _ in run.answer.trace.tokens_per_layer] for run in comparison.runs]
        for line, marked, visual in zip(lines, markers, counts, strict=True):
            assert list(line.y) == visual and len(marked.x) > 1
            assert all(count == visual[int(place + 0.5)] for place, count in zip(marked.x, marked.y, strict=True))
            for layer, same in enumerate(line.customdata):
                assert same.split("<br>") == [name for name, other in zip(names, counts, strict=True) if other[layer] == visual[layer]]
        places = [place for marked in markers for place in marked.x]
        assert len(set(places)) == len(places)  # no marker hides another one
        legend = comparison_lines(comparison)
        assert legend.count("<li>") == len(names) and all(
            f"{style_of(run.answer.method.name).swatch()}{type(run.answer.method).__name__}" in legend for run in comparison.runs
        )

    def test_a_person_picks_what_is_shown(self, comparison):
        shown = comparison.only(["vtw", "aim"])
        assert [run.answer.method.name for run in shown.runs] == ["full", "aim", "vtw"]
        assert shown.runs[1] is comparison.runs[1] and shown.tflops == comparison.tflops
        table = comparison_table(shown)
        assert table.count("<tr>") == 4 and style_of("vtw").swatch() in table and "FastV" not in table
        assert comparison.only([]).runs == comparison.runs[:1]

    def test_the_key_tells_the_patterns_that_there_are(self, comparison):
        merged, inside, dropped, left_out = FATES.values()
        words = re.findall(r"<li><img [^>]+>([^<]+)</li>", kept_keys(comparison, 3))
        assert words == [merged, inside, dropped, left_out]
        assert re.findall(r"<li><img [^>]+>([^<]+)</li>", kept_keys(comparison.only(["tome"]), 3)) == [merged]
        assert re.findall(r"<li><img [^>]+>([^<]+)</li>", kept_keys(comparison.only(["fewerframes"]), 3)) == [left_out]
        assert re.findall(r"<li><img [^>]+>([^<]+)</li>", kept_keys(comparison.only(["fastv"]), 3)) == [dropped]
        assert inside in re.findall(r"<li><img [^>]+>([^<]+)</li>", kept_keys(comparison.only(["framefusion"]), 3))

    def test_the_overlap_of_nothing_with_nothing_is_a_dash(self, comparison):
        assert "<td>–</td>" in overlap_table(comparison, comparison.runs[0].answer.trace.num_layers - 1)

    def test_the_sheet_shows_kept_patches_clear_and_others_veiled(self, clip, comparison):
        from aim.views.sheet import ROW_CAPTION, ROW_CELL, ROW_GAP, ROW_LABEL

        sheet = kept_sheet(clip.frames, clip.timestamps, comparison, 2)
        height = round(ROW_CELL * clip.frames.shape[1] / clip.frames.shape[2])
        for row, run in enumerate(comparison.runs[:2]):
            trace = run.answer.trace
            kept = set(trace.kept_patches(2).tolist())
            reference = sheet.crop((ROW_LABEL, ROW_CAPTION, ROW_LABEL + ROW_CELL, ROW_CAPTION + height))
            top = ROW_CAPTION + row * (height + ROW_GAP)
            shown = sheet.crop((ROW_LABEL, top, ROW_LABEL + ROW_CELL, top + height))
            for patch in range(49):
                y, x = divmod(patch, 7)
                middle = (int((x + 0.5) * ROW_CELL / 7), int((y + 0.5) * height / 7))
                assert (shown.getpixel(middle) == reference.getpixel(middle)) == (patch in kept)

    def test_the_text_for_a_terminal_has_the_same_figures(self, comparison):
        lines = comparison_text(comparison).splitlines()
        assert len(lines) == len(comparison.runs) + 2
        assert lines[1].startswith("Full") and lines[0].split()[0] == "method"


def test_the_command_prints_one_json_object(capsys):
    from aim.commands.main import main

    main(["compare", str(EXAMPLES / "colour.mp4"), QUESTION, "--methods", "aim", "vtw", "--tflops", "0.0009", "--rounds", "1", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert [run["method"] for run in report["runs"]] == ["full", "aim", "vtw"]
    assert report["tflops"] == 0.0009
    assert report["runs"][1]["cost"]["prefill_tflops"] == pytest.approx(0.0009, rel=0.01)
    assert len(report["overlap"]) == 3
