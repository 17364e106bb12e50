"""The token curve: its bars, boxes, marks and words, read back from the drawing; its inks measured on both grounds."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

import aim
from aim.views.curve import QUIET, SCORE, VISUAL, curve_legend, curve_svg, score_quantiles, token_curve
from aim.views.frames import VIEWS
from tests.fakes import make_trace
from tests.made_run import make_run

SVG = "{http://www.w3.org/2000/svg}"


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


def layers(svg: str) -> list[ElementTree.Element]:
    return [group for group in parse(svg).findall(f"{SVG}g") if group.find(f"{SVG}g") is not None]


def bars(layer: ElementTree.Element) -> dict[str, ElementTree.Element]:
    """The text bar, the visual bar, the quartiles and what can be pointed at."""
    return dict(
        zip(
            ("text", "visual", "box", "hit") if len(layer.findall(f"{SVG}rect")) == 4 else ("text", "visual", "hit"),
            layer.findall(f"{SVG}rect"),
            strict=True,
        )
    )


def told(layer: ElementTree.Element) -> list[str]:
    return [text.text for text in layer.find(f"{SVG}g").findall(f"{SVG}text")]


def test_bars_are_as_high_as_the_tokens_on_the_full_models_scale():
    pairs = [(60, 20), (30, 20), (0, 20)]
    drawn = [bars(layer) for layer in layers(curve_svg(pairs, 180))]
    heights = [[float(layer[part].get("height")) for part in ("visual", "text")] for layer in drawn]
    assert np.array(heights) * 200 / 112 == pytest.approx(np.array(pairs), abs=0.2)
    for layer in drawn:  # visual tokens stand on the text tokens
        assert float(layer["visual"].get("y")) + float(layer["visual"].get("height")) == pytest.approx(
            float(layer["text"].get("y")), abs=0.11
        )


def test_a_layers_figures_are_written_and_those_of_one_without_a_pointer():
    trace = make_trace()
    drawn = layers(token_curve(trace, shown=2))
    assert told(drawn[0]) == ["Layer 0: 6 visual + 5 text tokens"]
    assert told(drawn[2]) == ["Layer 2: 3 visual + 5 text tokens", "importance: median 2.0e-01, quartiles 1.5e-01 to 2.5e-01"]
    assert [layer.get("class") for layer in drawn] == [None, None, "shown", None]


def test_boxes_are_quartiles_and_stand_in_the_order_of_their_values():
    run = make_run()
    drawn, quantiles = layers(token_curve(run.trace)), score_quantiles(run.trace)
    boxes = {number: bars(layer).get("box") for number, layer in enumerate(drawn)}
    assert [number for number, box in boxes.items() if box is not None] == run.trace.scored_layers == list(quantiles)
    for layer, values in quantiles.items():
        ordered = sorted(run.trace.scores[layer].tolist())
        place = 0.5 * (len(ordered) - 1)
        middle = ordered[int(place)] + (place % 1) * (ordered[min(int(place) + 1, len(ordered) - 1)] - ordered[int(place)])
        assert values[2] == pytest.approx(middle)
    tops = sorted((float(boxes[layer].get("y")), -values[3]) for layer, values in quantiles.items())
    assert all(one[1] <= other[1] for one, other in pairwise(tops))


def test_scores_of_nothing_and_of_very_little_do_not_leave_the_drawing():
    trace = make_trace()
    trace.scores[1][:] = 0
    trace.scores[2][0] = 1e-30
    svg = token_curve(trace)
    assert "nan" not in svg and "inf" not in svg and ">≤1e-" in svg and "≤" not in token_curve(make_trace())
    box, hit = (bars(layers(svg)[1])[part] for part in ("box", "hit"))
    ends = [float(part.get("y")) + float(part.get("height")) for part in (box, hit)]
    assert ends[0] <= ends[1] + 2


def test_knobs_that_name_a_layer_are_marked_and_their_names_do_not_meet():
    for l1, l2 in ((1, 2), (2, 3), (3, 9), (0, 40)):
        svg = token_curve(make_trace(), aim.AIM(l1=l1, l2=l2))
        named = {text.text: float(text.get("x")) for text in parse(svg).findall(f"{SVG}text") if text.text.startswith("l")}
        assert list(named) == [f"l1 = {l1}", f"l2 = {l2}"]
        assert named[f"l2 = {l2}"] - named[f"l1 = {l1}"] > 40 and named[f"l2 = {l2}"] < 400
    behind = curve_svg([(1, 1)] * 6, 1, marks=[(6, "l1 = 6"), (7, "l2 = 7")])  # both at the end, where nothing is dropped
    first, second = (float(text.get("x")) for text in parse(behind).findall(f"{SVG}text") if text.text.startswith("l"))
    assert first + 40 < second < 400
    assert "layer = 1" in token_curve(make_trace(), aim.METHODS["fastv"](layer=1))
    assert "l1 =" not in token_curve(make_trace(), aim.Full())


def test_it_names_and_describes_itself():
    drawn = parse(token_curve(make_trace()))
    assert drawn.get("role") == "img" and drawn.find(f"{SVG}title").text == "Tokens in each layer of the language model"
    description = drawn.find(f"{SVG}desc").text
    assert description.startswith(
        "12 patches became 6 visual tokens. Layers 0–1 see all 6, layer 2 sees fewer and fewer, layer 3 sees none."
    )


def test_a_plan_is_a_dashed_line_and_no_layers_are_refused():
    assert "4 3" not in curve_svg([(1, 1)], 1) and "4 3" in curve_svg([(1, 1)], 1, planned=[(1, 1)])
    assert "planned" in curve_legend(planned=True) and "importance" not in curve_legend(scored=False)
    with pytest.raises(ValueError, match="no layers"):
        curve_svg([], 1)


def test_scores_are_not_called_pagerank_since_other_methods_score_by_other_things():
    trace = make_trace()
    told = token_curve(trace, aim.FastV(layer=2)) + curve_legend() + VIEWS["Importance"].reading
    assert trace.scored_layers and "importance" in told and "PageRank" not in told


def test_names_of_marks_are_no_markup():
    assert "<b>" not in curve_svg([(1, 1)], 1, marks=[(0, "<b>")])


def test_the_page_redraws_it_from_a_few_kilobytes():
    trace = make_run(frames=32, rows=14, columns=14, window=1, kept=(1,) * 14 + tuple(np.linspace(0.95, 0, 14))).trace
    assert len(token_curve(trace, aim.AIM(l1=14, l2=28), shown=14)) < 20_000


@pytest.mark.parametrize("ground", ["#ffffff", "#0b0f19", "#0f172a"])
@pytest.mark.parametrize("ink", [VISUAL, SCORE, QUIET])
def test_marks_show_on_light_and_dark_grounds(ink, ground):
    """3 to 1 is what WCAG 2 asks of parts of a drawing; its letters have the page's own ink."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        return sum(
            weight * (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4)
            for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True)
        )

    light, dark = sorted((luminance(ink), luminance(ground)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) >= 3
    fills = re.findall(r'<text[^>]*fill="([^"]+)"', token_curve(make_trace()))
    assert fills == []
