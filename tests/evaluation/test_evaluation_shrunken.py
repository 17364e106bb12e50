"""Shrunken frames as a control: they cost the tower what merging costs, and only what the pixels lose is lost."""

import json

import numpy as np
import pytest
from PIL import Image
from transformers import AutoConfig

import aim
from aim.commands.main import main
from aim.evaluation.clips import film, held_out_clip
from aim.evaluation.measure import measure_clip
from aim.evaluation.settings import Setting, combine
from aim.evaluation.shrunken import shrunken, side_of, vision_of
from aim.evaluation.summary import Evaluation
from aim.families.names import locate
from aim.shapes.model import IMAGE_SIZE, PATCH_SIZE
from tests.benchmark import record, untrained


@pytest.fixture(scope="module")
def vlm(tmp_path_factory):
    return untrained(tmp_path_factory.mktemp("model"))


def test_they_cost_what_merging_costs_and_one_more_pixel_costs_more():
    config = AutoConfig.from_pretrained(locate("bundled"))
    tower = aim.Tower(merge=0.3).for_depth(config.vision_config.num_hidden_layers)
    side = side_of(tower, vision_of(config))
    settings = [Setting(aim.Full(), 2), Setting(aim.Full(), 2, tower), *(Setting(aim.Full(), 2, shrunk=side + more) for more in (0, 1))]
    evaluation = Evaluation([record(setting, 0, [True]) for setting in settings], config, 49)
    full, merged, shrunk, larger = (evaluation.summary(setting).cost["vision_tflops"] for setting in settings)
    assert shrunk <= merged < larger < full
    # Against counting by hand: queries, keys, values, output and the MLP of each patch less, and its pairs.
    shape, patches = config.vision_config, [(IMAGE_SIZE // PATCH_SIZE) ** 2, round((side / PATCH_SIZE) ** 2)]
    size, middle = shape.hidden_size, shape.intermediate_size
    layer = [2 * n * (4 * size**2 + 2 * size * middle) + 4 * size * n**2 for n in patches]
    assert 1e12 * (full - shrunk) == pytest.approx(2 * shape.num_hidden_layers * (layer[0] - layer[1]))


def test_they_stand_beside_merging_reuse_and_both_under_each_method():
    towers = [aim.Tower(merge=0.3, layer=1), aim.Tower(reuse=0.03, layer=1)]
    settings = combine([aim.AIM()], [2], 12, towers=towers, shrunk=80)
    kinds = [(None, 0), *((tower, 0) for tower in towers), (None, 80)]
    assert [(one.method.name, one.tower, one.shrunk) for one in settings] == [(name, *kind) for name in ("full", "aim") for kind in kinds]
    assert settings[3].label == "2 frames, full, frames shrunk to 80 pixels a side" and json.loads(settings[3].key)["shrunk"] == 80
    assert settings[3].reference == settings[3].with_full_tower == settings[0] and "shrunk" not in json.loads(settings[0].key)


def test_only_the_pixels_change(vlm):
    """The answers are those to a clip whose frames somebody has made smaller before."""
    clip = held_out_clip(4)
    [measured] = measure_clip(vlm, clip, [Setting(aim.Full(), 2, shrunk=40)])
    pictures, _ = film(clip, 2, 7)
    smaller = np.stack([np.asarray(Image.fromarray(picture).resize((40, 40), Image.Resampling.BICUBIC)) for picture in pictures])
    assert np.array_equal(shrunken(pictures, 40), smaller)
    asked = aim.clip_from_frames(smaller, 1.0)
    said = [int(vlm.ask(asked, question.text, aim.Full(), 1).next_token.argmax()) for question in clip.questions]
    assert [outcome.answer for outcome in measured.outcomes] == [vlm.checkpoint.tokenizer.decode([token]).strip() for token in said]
    assert measured.visual_per_layer == [2 * 49] * 12 and measured.tower_lengths == []


@pytest.mark.whole
def test_one_command_prints_full_merging_reuse_both_and_shrunken(tmp_path, capsys, vlm):
    work = ["--model", vlm.name, "--clips", "2", "--processes", "1", "--frames", "1", "--out", str(tmp_path / "work")]
    main(["eval", *work, "--method", "full", "--tower-merge", "0.3", "--tower-reuse", "0.03137", "--shrunken"])
    head, *_ = capsys.readouterr().out.split("\n\nsetting")
    lines = [line.split("  ")[0] for line in head.splitlines() if line.startswith("1 frames")]
    before = ["tower merge 0.3", "tower reuse 0.0314", "tower merge 0.3, reuse 0.0314", "frames shrunk to"]
    assert len(lines) == 4 and all(line.startswith(f"1 frames, full, {told}") for line, told in zip(lines, before, strict=True))
