"""The overlap of what methods keep, beside sets of single patches, and letters that can be read on every colour."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import aim
from aim.views.fates import Fate, places
from aim.views.overlap import overlap, overlap_table, shaded
from tests.made_run import leave_out, make_run

RUNS = [make_run(), make_run(seed=1, window=1), leave_out(make_run(seed=4)), leave_out(make_run(seed=5), share=0.9)]
TRACES = [run.trace for run in RUNS]


def kept(trace, layer: int, upto: Fate) -> set[int]:
    """Patches of tokens of a layer, by looking at one after the other."""
    alive, stands = set(trace.survivors[layer].tolist()), set(places(trace).tolist())
    owners = enumerate(trace.assignment.flatten().tolist())
    return {patch for patch, token in owners if token in alive and (upto == Fate.MERGED_INSIDE or patch in stands)}


@pytest.mark.parametrize("upto", [Fate.STANDS, Fate.MERGED_INSIDE])
@pytest.mark.parametrize("layer", [0, 3, 6, 8])
def test_shares_are_intersection_over_union_of_what_is_kept(layer, upto):
    shares = overlap(TRACES, layer, upto)
    for row, one in enumerate(TRACES):
        for column, other in enumerate(TRACES):
            mine, yours = kept(one, layer, upto), kept(other, layer, upto)
            if mine | yours:
                assert shares[row, column] == pytest.approx(len(mine & yours) / len(mine | yours))
            else:
                assert np.isnan(shares[row, column])


def comparison(traces) -> SimpleNamespace:
    methods = (aim.AIM(), aim.Full(), aim.METHODS["fastv"](), aim.METHODS["tome"]())
    return SimpleNamespace(runs=[SimpleNamespace(answer=SimpleNamespace(method=m, trace=t)) for m, t in zip(methods, traces, strict=False)])


def test_the_table_has_both_shares_where_anything_was_merged():
    html = overlap_table(comparison(TRACES), 3)
    assert html.count("<tr>") == 5 and html.count("<small") == 16 and "Small: " in html
    cells = re.findall(r"\">(\d+) %<small[^>]*>(\d+) %</small>", html)
    expected = zip(overlap(TRACES, 3, Fate.STANDS).ravel(), overlap(TRACES, 3, Fate.MERGED_INSIDE).ravel(), strict=True)
    assert cells == [(f"{100 * one:.0f}", f"{100 * other:.0f}") for one, other in expected]


def test_without_merging_and_without_tokens_there_is_one_share_or_none():
    run, nothing = make_run(), torch.arange(0)
    run.trace.assignment, run.trace.group_sizes = torch.arange(140).view(5, 28), torch.ones(140, dtype=torch.long)
    run.trace.survivors = [torch.arange(140), *[nothing] * 8]
    assert "<small" not in overlap_table(comparison([run.trace]), 0) and "100 %" in overlap_table(comparison([run.trace]), 0)
    assert "<td>–</td>" in overlap_table(comparison([run.trace]), 1)


def test_every_share_can_be_read_on_its_colour():
    """4.5 to 1 is what WCAG 2 asks of text; the contrast is computed here from its definition."""

    def luminance(red: int, green: int, blue: int) -> float:
        parts = [value / 255 / 12.92 if value / 255 <= 0.03928 else ((value / 255 + 0.055) / 1.055) ** 2.4 for value in (red, green, blue)]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    cells = [re.search(r"rgb\((\d+),(\d+),(\d+)\);color:#(\w+)", shaded(share, share)).groups() for share in np.linspace(0, 1, 101)]
    for *background, ink in cells:
        light, dark = sorted((luminance(*map(int, background)), {"000": 0.0, "fff": 1.0}[ink]), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5
