"""Every method's line can be told from every other one without its colour, in the chart and in the legend beside it."""

from __future__ import annotations

import xml.etree.ElementTree as xml

import plotly.graph_objects as go
import pytest

from aim.methods import COMPARABLE
from aim.views.line_styles import COLOURS, DASHES, MARKERS, style_of


def test_no_two_methods_share_dashes_and_marker():
    styles = [style_of(name) for name in COMPARABLE]
    assert len({(style.dash, style.marker) for style in styles}) == len(COMPARABLE)
    assert len(DASHES) * len(MARKERS) >= len(COMPARABLE) > 1
    assert {style.colour for style in styles if style != style_of("full")} <= set(COLOURS)


def test_methods_that_follow_one_another_differ_in_colour_too():
    colours = [style_of(name).colour for name in COMPARABLE]
    assert all(one != other for one, other in zip(colours, colours[1:], strict=False))


@pytest.mark.parametrize("name", COMPARABLE)
def test_plotly_and_the_legend_draw_the_same_style(name):
    style = style_of(name)
    drawn = go.Scatter(line={"dash": style.plotly_dash, "color": style.colour}, marker={"symbol": style.marker})  # refused where unknown
    line, marker = xml.fromstring(style.swatch())
    assert line.get("stroke") == marker.get("fill") == drawn.line.color == style.colour
    gaps = line.get("stroke-dasharray")
    assert drawn.line.dash == ("solid" if gaps is None else "px,".join(gaps.split(",")) + "px")
