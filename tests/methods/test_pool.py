"""Pool: against torch's average pooling where sides divide, plain loops elsewhere, which grid is taken, and what a plan says."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch.nn.functional import avg_pool2d

import aim
from aim.kernels.grid import Grid
from aim.kernels.pooling import pool_clip, pooled_sides, squarest
from aim.kernels.refusal import Refusal
from aim.planning.plan import plan
from tests.tiny import TINY


@pytest.mark.parametrize(("rows", "columns", "to"), [(14, 14, (7, 7)), (6, 12, (2, 3)), (4, 6, (1, 1)), (5, 5, (5, 5))])
def test_where_the_sides_divide_it_is_torchs_average_pooling(rows: int, columns: int, to: tuple[int, int]):
    x = torch.randn(3, rows * columns, 8, generator=torch.Generator().manual_seed(0))
    expected = avg_pool2d(x.view(3, rows, columns, 8).permute(0, 3, 1, 2), (rows // to[0], columns // to[1]))
    torch.testing.assert_close(pool_clip(x, rows, columns, *to).tokens, expected.flatten(2).transpose(1, 2).flatten(0, 1))


@pytest.mark.parametrize(("rows", "columns", "to"), [(7, 7, (3, 4)), (5, 8, (4, 3)), (3, 10, (2, 7))])
def test_elsewhere_cells_differ_by_a_row_or_column_and_do_not_overlap(rows: int, columns: int, to: tuple[int, int]):
    x = torch.randn(2, rows * columns, 4, generator=torch.Generator().manual_seed(0))
    merged, (to_rows, to_columns) = pool_clip(x, rows, columns, *to), to
    cells: dict[int, list[tuple[int, int, int]]] = {}
    for frame, row, column in product(range(2), range(rows), range(columns)):
        cell = frame * to_rows * to_columns + row * to_rows // rows * to_columns + column * to_columns // columns
        cells.setdefault(cell, []).append((frame, row, column))
    for cell, members in cells.items():
        places = [(frame, row * columns + column) for frame, row, column in members]
        torch.testing.assert_close(merged.tokens[cell], torch.stack([x[place] for place in places]).mean(0))
        assert {int(merged.assignment[place]) for place in places} == {cell}
        frame, high, wide = members[0][0], sorted({row for _, row, _ in members}), sorted({column for *_, column in members})
        middle = high[(len(high) - 1) // 2] * columns + wide[(len(wide) - 1) // 2]
        assert int(merged.anchors[cell]) == frame * rows * columns + middle
        assert int(merged.sizes[cell]) == len(members)
    assert len(cells) == len(merged.tokens) == 2 * to_rows * to_columns


def test_the_side_that_shrinks_more_shrinks_as_little_as_it_can():
    assert [pooled_sides(14, 14, budget) for budget in (196, 98, 49, 24, 2)] == [(14, 14), (9, 10), (7, 7), (4, 6), (1, 2)]
    assert [pooled_sides(7, 7, budget) for budget in (12, 48, 1)] == [(3, 4), (6, 7), (1, 1)]
    assert [pooled_sides(12, 24, 72), pooled_sides(13, 23, 75), pooled_sides(1, 9, 5)] == [(6, 12), (6, 12), (1, 5)]
    for rows, columns in ((7, 7), (13, 23), (12, 24), (9, 4)):
        grids = [pooled_sides(rows, columns, budget) for budget in range(1, rows * columns + 1)]
        counts = [high * wide for high, wide in grids]
        assert counts == sorted(counts) and grids[-1] == (rows, columns)  # a larger share never keeps less
        assert all(count <= budget for budget, count in enumerate(counts, 1))


def test_a_plan_takes_the_grid_that_is_most_nearly_square():
    assert [squarest(tokens) for tokens in (196, 299, 12, 7, 1)] == [(14, 14), (13, 23), (3, 4), (1, 7), (1, 1)]
    planned = plan("llava-onevision-qwen2-7b", 32, 100, aim.Pool(keep_ratio=0.25))
    assert planned.tokens_per_layer == [(1568, 100)] * 28
    assert planned.merge_tflops == pytest.approx(3584 * (6272 + 1568) / 1e12)
    assert plan("llava-onevision-qwen2-7b", 32, 100, aim.Pool(keep_ratio=1)).merge_tflops == 0


@pytest.mark.parametrize("name", ["llava_onevision", "qwen2_vl"])
def test_a_run_pools_the_grid_that_the_model_has(name: str):
    model, tiny = TINY[name].model(), TINY[name]
    with aim.reduce(model, aim.Pool(keep_ratio=0.5)) as trace, torch.no_grad():
        model(**tiny.video_inputs())
    rows, columns = pooled_sides(trace.rows, trace.columns, trace.rows * trace.columns // 2)
    first = trace.assignment[0].view(trace.rows, trace.columns)
    assert torch.equal(
        first, (torch.arange(trace.rows)[:, None] * rows // trace.rows) * columns + torch.arange(trace.columns) * columns // trace.columns
    )
    assert trace.tokens_per_layer[0][0] == trace.frames * rows * columns


def test_at_one_nothing_changes_and_without_a_grid_it_refuses():
    x = torch.randn(2, 12, 4)
    assert aim.Pool(keep_ratio=1).merge_on(Grid(2, 3, 4), x) is None
    assert len(aim.Pool(keep_ratio=0.001).merge_on(Grid(2, 3, 4), x).tokens) == 2
    with pytest.raises(Refusal, match="only the number of its tokens, 12, was given. Give the grid"):
        aim.Pool().merge(x)
    with pytest.raises(Refusal, match="keep_ratio is 2"):
        aim.Pool(keep_ratio=2)
