"""What of vLLM's plugin needs no vLLM: positions of merged tokens, and which release is taken."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from aim.kernels.refusal import Refusal
from aim.serving.vllm.places import grid_places, on_embeddings, places_of, text_and_bases, with_places
from aim.serving.vllm.plugin import check_release
from aim.serving.vllm.served import TESTED

GRID = (3, 2, 4)  # steps, rows, columns


def by_hand(steps: int, rows: int, columns: int, factor: float) -> list[list[int]]:
    return [[int(step * factor), row, column] for step in range(steps) for row in range(rows) for column in range(columns)]


def test_places_count_columns_then_rows_then_steps():
    assert grid_places(*GRID, 8 / 3).T.tolist() == by_hand(*GRID, 8 / 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_places_travel_on_embeddings_without_rounding(dtype):
    places = torch.tensor([[0, 257, 65535], [255, 256, 1], [999, 3, 12345]])
    embeddings = with_places(torch.ones(3, 5, dtype=dtype), places)
    assert embeddings.dtype == dtype and torch.equal(embeddings[:, :5], torch.ones(3, 5, dtype=dtype))
    assert torch.equal(places_of(embeddings), places)


def prompt(kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three words, some tokens of a clip, two words, an image, a word: placeholders, positions before encoding and at the end."""
    places, image = grid_places(*GRID, 2.0), grid_places(1, 2, 2)
    visual = torch.tensor([0] * 3 + [1] * len(kept) + [0] * 2 + [1] * 4 + [0]).bool()
    before = text_and_bases(len(visual), [(3, len(kept), places), (5 + len(kept), 4, image)])
    after_clip = 3 + int(places.max()) + 1  # as if nothing had been merged
    words = [torch.arange(3), after_clip + torch.arange(2), torch.tensor([after_clip + 2 + 2])]
    final = [words[0].repeat(3, 1), 3 + places[:, kept], words[1].repeat(3, 1), after_clip + 2 + image, words[2].repeat(3, 1)]
    return visual, before, torch.cat(final, dim=1)


KEPT = torch.tensor([1, 3, 8, 9, 16, 22])


def test_text_has_its_final_positions_before_anything_is_encoded():
    visual, before, final = prompt(KEPT)
    assert torch.equal(before[:, ~visual], final[:, ~visual])
    assert torch.equal(before[:, -5:], final[:, -5:])  # so does an image, of which every token is there


@pytest.mark.parametrize("chunk", [1, 4, 5, 100])
def test_chunk_by_chunk_each_merged_token_gets_the_place_of_its_anchor_also_when_it_is_computed_twice(chunk):
    visual, positions, final = prompt(KEPT)
    clip, image = (
        with_places(torch.zeros(len(KEPT), 2), grid_places(*GRID, 2.0)[:, KEPT]),
        with_places(torch.zeros(4, 2), grid_places(1, 2, 2)),
    )
    embeddings = torch.cat([clip, image])
    for _ in range(2):
        for start in range(0, len(visual), chunk):
            seen, here = int(visual[:start].sum()), int(visual[start : start + chunk].sum())
            positions = on_embeddings(visual, [embeddings[seen : seen + here]] if here else [], positions, start)
    assert torch.equal(positions, final)


def test_an_unmerged_clip_has_its_places_from_the_start():
    _, before, final = prompt(torch.arange(24))
    assert torch.equal(before, final)


def test_a_release_of_vllm_that_was_not_tested_is_refused_and_a_build_of_a_tested_one_is_not():
    check_release("0.32.0+cpu")
    with pytest.raises(Refusal, match=r"This is vLLM 0\.33\.0, and the plugin aim was tested with 0\.32\.0 alone; install vllm==0\.32\.0"):
        check_release("0.33.0")


def test_another_release_ends_at_the_start_with_one_sentence():
    """A made-up module stands in for vLLM, of which nothing but the release is asked before."""
    start = "import sys, types; sys.modules['vllm'] = types.SimpleNamespace(__version__='0.33.0'); import aim.serving.vllm.plugin as plugin"
    ended = subprocess.run([sys.executable, "-c", f"{start}; plugin.register()"], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert re.fullmatch(r"aim: This is vLLM 0\.33\.0, and .* 0\.32\.0 alone; install vllm==0\.32\.0, or .*\.\n", ended.stderr)


def test_the_project_asks_for_the_release_that_was_tested():
    written = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert set(re.findall(r'"vllm(?:-cpu)?==([\d.]+)"', written)) == set(TESTED)
