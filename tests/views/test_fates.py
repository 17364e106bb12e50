"""What became of every patch, its colours and the frame to begin with, beside loops over single patches."""

import numpy as np
import pytest
import torch

from aim.views.fates import Fate, fates, places, spread, telling_layer, tokens_by_frame
from aim.views.mosaic import borders, most_divided, patch_colours, token_colours
from tests.fakes import make_trace
from tests.made_run import absorb, last_layers, leave_out, make_run

RUNS = [make_run(), make_run(seed=3, window=1), leave_out(make_run(seed=4)), leave_out(make_run(seed=5, frames=3, window=3), share=0.9)]


@pytest.mark.parametrize("run", RUNS)
def test_the_fate_of_every_patch_in_every_layer(run):
    trace, last = run.trace, last_layers(run.trace)
    stands = set(places(trace).tolist())
    for layer in range(trace.num_layers):
        expected = []
        for patch, token in enumerate(trace.assignment.flatten().tolist()):
            if token < 0:
                expected.append(Fate.LEFT_OUT)
            elif token in trace.survivors[layer].tolist():
                expected.append(Fate.STANDS if patch in stands else Fate.MERGED)
            else:
                expected.append(Fate.JUST_DROPPED if last[token] == layer - 1 else Fate.DROPPED)
        assert fates(trace, layer).flatten().tolist() == expected


def test_what_a_token_took_in_inside_the_model_is_merged_and_not_dropped():
    trace = make_trace()  # tokens 0, 2 and 5 are left in layer 2, and none in layer 3
    trace.holders = {2: torch.tensor([0, 0, 2, -1, 5, 5]), 3: torch.full((6,), -1)}
    held = {0: 0, 1: 0, 2: 2, 3: -1, 4: 5, 5: 5}
    absorbed = {token: Fate.MERGED if holder == token else Fate.MERGED_INSIDE for token, holder in held.items()}
    stands = {int(places(trace)[token]) for token in (0, 2, 5)}
    tokens = trace.assignment.flatten().tolist()
    expected = [
        Fate.STANDS if patch in stands else absorbed[token] if held[token] >= 0 else Fate.JUST_DROPPED for patch, token in enumerate(tokens)
    ]
    assert fates(trace, 2).flatten().tolist() == expected
    now = [Fate.DROPPED if token == 3 else Fate.JUST_DROPPED for token in tokens]
    assert fates(trace, 3).flatten().tolist() == now


def test_what_was_merged_inside_shares_the_fate_of_the_token_it_is_in():
    trace, seen = absorb(make_run()).trace, set()
    into = np.full((trace.num_layers, trace.merged_tokens), -1)
    for layer, alive in enumerate(trace.survivors):  # follow every token alone
        for token in range(trace.merged_tokens):
            if layer in trace.holders:
                into[layer, token] = trace.holders[layer][token]
            else:
                into[layer, token] = into[layer - 1, token] if layer else token
        assert set(into[layer]) - {-1} == set(alive.tolist())
        for patch, fate in zip(trace.assignment.flatten().tolist(), fates(trace, layer).flatten().tolist(), strict=True):
            inside = into[layer, patch] not in (patch, -1)
            assert (fate == Fate.MERGED_INSIDE) == inside or fate == Fate.STANDS
            gone = Fate.JUST_DROPPED if layer and into[layer - 1, patch] >= 0 else Fate.DROPPED
            assert (fate in (Fate.JUST_DROPPED, Fate.DROPPED)) == (into[layer, patch] < 0) and (into[layer, patch] >= 0 or fate == gone)
            seen.add(fate)
        expected = [len({int(into[layer, token]) for token in row} - {-1}) for row in trace.assignment.tolist()]
        assert tokens_by_frame(trace, layer).tolist() == expected
    assert seen == set(Fate) - {Fate.LEFT_OUT}


def test_two_tokens_at_one_place_keep_it_until_both_are_gone():
    trace = make_trace()
    trace.anchors = torch.tensor([0, 2, 3, 6, 7, 0])  # tokens 0 and 5 stand at the first patch
    trace.survivors = [torch.arange(6), torch.tensor([1, 5]), torch.tensor([5]), torch.tensor([1])]
    first = [fates(trace, layer)[0, 0] for layer in range(4)]
    assert first == [Fate.STANDS, Fate.STANDS, Fate.STANDS, Fate.DROPPED]


def test_a_layer_that_the_run_does_not_have_is_refused():
    with pytest.raises(ValueError, match="Layer 9 was asked for, and the run has layers 0 to 8"):
        fates(RUNS[0].trace, 9)


@pytest.mark.parametrize("run", RUNS)
def test_each_merged_token_stands_at_one_of_its_own_patches(run):
    trace = run.trace
    flat = trace.assignment.flatten().tolist()
    assert [flat[patch] for patch in places(trace)] == list(range(trace.merged_tokens))
    trace.anchors = torch.tensor([max(patch for patch, owner in enumerate(flat) if owner == token) for token in range(trace.merged_tokens)])
    assert places(trace).tolist() == trace.anchors.tolist()


@pytest.mark.parametrize("run", RUNS)
def test_a_tokens_colour_is_the_mean_of_its_patches_alone(run):
    colours = patch_colours(run.frames, run.trace.rows, run.trace.columns)
    assert (colours == run.colours).all()
    means, flat = token_colours(colours, run.trace), colours.reshape(-1, 3)
    for token in range(run.trace.merged_tokens):
        own = [flat[patch] for patch, owner in enumerate(run.trace.assignment.flatten().tolist()) if owner == token]
        assert np.abs(means[token] - np.mean(own, axis=0)).max() <= 0.5


@pytest.mark.parametrize("run", RUNS)
def test_tokens_of_a_frame_are_counted_once_and_patches_of_none_not_at_all(run):
    trace = run.trace
    assert tokens_by_frame(trace).tolist() == [len(set(row) - {-1}) for row in trace.assignment.tolist()]
    for layer, alive in enumerate(trace.survivors):
        assert tokens_by_frame(trace, layer).tolist() == [len(set(row) & set(alive.tolist())) for row in trace.assignment.tolist()]


@pytest.mark.parametrize("run", RUNS)
def test_the_frame_most_divided_is_where_borders_part_the_most_colour(run):
    trace, parted = run.trace, []
    for frame, row_major in enumerate(trace.assignment.tolist()):
        grid, total = np.array(row_major).reshape(trace.rows, trace.columns), 0.0
        for row in range(trace.rows):
            for column in range(trace.columns):
                for y, x in ((row, column + 1), (row + 1, column)):
                    if y < trace.rows and x < trace.columns and grid[y, x] != grid[row, column]:
                        one, other = run.colours[frame, [row, y], [column, x]].astype(float)
                        total += sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5
        parted.append(total)
    assert most_divided(trace, run.colours) == parted.index(max(parted))


def test_an_even_clip_begins_with_its_first_frame():
    run = make_run()
    assert most_divided(run.trace, np.full_like(run.colours, 80)) == 0


def test_borders_lie_between_patches_that_differ():
    right, below = borders(np.array([[[0, 0, 1], [2, 0, 1]]]))
    assert right.tolist() == [[[False, True], [True, True]]] and below.tolist() == [[[True, False, False]]]


def test_what_belongs_to_no_token_gets_the_absent_value():
    assert spread(np.array([5, 6]), np.array([[1, -1], [0, 1]]), -9).tolist() == [[6, -9], [5, 6]]


def test_the_telling_layer_has_some_tokens_and_not_all():
    trace = make_trace()
    assert telling_layer(trace) == 2
    trace.survivors = [torch.arange(6)] * 4
    assert telling_layer(trace) == 3
