"""Runs from end to end: what stands before the LLM is run and counted, by the tower that was asked for."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import aim
from aim.bench.footage import Footage
from aim.bench.growth import grow
from aim.bench.measure import Measurement, VariantRuns
from aim.bench.printing import growth_text
from aim.bench.rounds import Bench
from aim.bench.summary import planned, summarise
from aim.bench.tiny import TINY_MODELS, TINY_PICTURES
from aim.bench.variants import BASE, variants_of, with_towers
from aim.commands.main import main
from aim.families import FAMILIES
from aim.kernels.refusal import Refusal
from aim.methods.tower import towers_of
from tests.clips import encode

METHOD = aim.AIM(merge_ratio=0.5, l1=2, l2=5)


@pytest.fixture(scope="module")
def bench():
    model = TINY_MODELS["llava_onevision"](vocab_size=120)
    pictures = FAMILIES["llava_onevision"].picture_settings | TINY_PICTURES["llava_onevision"]
    return Bench(model, pictures, 20, 3, end_to_end=True, height=40, width=40)


@pytest.fixture(scope="module")
def variants():
    return with_towers(variants_of(["aim"], [METHOD], 6), [aim.Tower(merge=0.3)])


def passing(model):
    """The numbers of patches that the last layer of the tower runs on, call by call, until the handle is removed."""
    seen = []
    projection = model.model.vision_tower.encoder.layers[-1].self_attn.q_proj
    return seen, projection.register_forward_pre_hook(lambda _module, args: seen.append(tuple(args[0].shape[:2])))


def test_each_run_passes_through_the_tower_that_its_variant_names(bench, variants):
    for name, patches in (("sdpa", 100), ("aim", 100), ("sdpa, tower merge 0.3", 30), ("aim, tower merge 0.3", 30)):
        seen, handle = passing(bench.model)
        run = bench.run(variants[name], 3)
        handle.remove()
        assert seen == [(3, patches)]  # once, all frames
        assert set(run.before) == {"preprocess", "tower"} and min(run.before.values()) > 0
        assert run.key_value_bytes == bench.plan(variants[name], 3).kv_bytes
        assert run.to_first_token == pytest.approx(run.before["preprocess"] + run.before["tower"] + run.first_token)


def test_what_stands_still_is_reused_and_counted_as_it_ran(bench):
    """Half of each of 3 frames stands still, and the tower then computes 100 + 50 + 50 patches of 300."""
    [tower] = towers_of([], [8 / 255])
    reuse = with_towers(variants_of(["aim"], [METHOD], 6), [tower])["aim, tower reuse 0.0314"]
    half = replace(bench, still=0.5)
    seen, handle = passing(bench.model)
    run = half.run(reuse, 3)
    handle.remove()
    assert [frames * patches for frames, patches in seen] == [200]
    plan = half.plan(reuse, 3)
    whole = summarise("aim", reuse, {BASE: VariantRuns({0: run}), "aim": VariantRuns({0: run})}, plan)["end_to_end"]
    # Two thirds of the queries, beside what patches, projector and the comparison of pixels take.
    assert 1.3 < plan.baseline_vision_tflops / run.tower_tflops < 1.5
    assert whole["modelled_tower_speedup"] == plan.baseline_vision_tflops / run.tower_tflops
    assert bench.run(reuse, 3).tower_tflops == pytest.approx(plan.vision_tflops)  # where every patch changes, as planned


def test_both_settings_of_the_tower_make_a_row_for_each_and_for_each_pair():
    words = [tower.words for tower in towers_of([0.3, 0.5], [0.1])]
    assert words == ["tower merge 0.3", "tower merge 0.5", "tower reuse 0.1", "tower merge 0.3, reuse 0.1", "tower merge 0.5, reuse 0.1"]


def test_the_answer_stands_on_the_frames_and_is_the_stock_models(bench, variants):
    """Tokens of a run on features are those of `generate` on pixels."""
    _, footage = bench.prompt(3)
    work, _ = bench.prompt(3)
    pixels = FAMILIES["llava_onevision"].pixel_values(bench.model.config, footage.example, bench.pictures)
    options = {"max_new_tokens": 3, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    with torch.inference_mode():
        stock = bench.model.generate(**work.inputs, **pixels, **options).logits[0]
        features, *_ = footage.encode(bench.model, None)
        with variants[BASE].enter(bench.model, variants[BASE].method):
            ours = bench.model.generate(**(work.inputs | features), **options).logits[0]
    assert torch.allclose(stock, ours, atol=1e-5)


def test_a_video_is_read_anew_in_each_run(bench, variants, tmp_path):
    file = tmp_path / "clip.mp4"
    encode(file, frames=6, width=64, height=48)
    footage = Footage(bench.pictures, 3, file)
    assert np.array_equal(footage.example, aim.read_video(file, 3).frames)
    with torch.inference_mode():
        _, stages, tflops = footage.encode(bench.model, None)
    assert tflops is None
    assert set(stages) == {"read", "preprocess", "tower"} and stages["read"] > 0
    with pytest.raises(Refusal, match="clip.mp4 has 6 frames, and 7 are to be measured"):
        _ = Footage(bench.pictures, 7, file).example


def test_sums_and_ratios_are_those_of_the_stages(bench, variants):
    def a_run(tower, first, rate):
        return Measurement(first, first, rate, None, None, 7, before={"preprocess": 1.0, "tower": tower}, new_tokens=5)

    measured = {BASE: VariantRuns({0: a_run(6.0, 5.0, 2.0)}), "aim, tower merge 0.3": VariantRuns({0: a_run(2.0, 1.0, 4.0)})}
    variant = variants["aim, tower merge 0.3"]
    plan = planned(bench.model.config, variant, bench.prompt(3)[0], 4)
    whole = summarise("aim, tower merge 0.3", variant, measured, plan)["end_to_end"]
    assert whole["to_first_token_seconds"]["median"] == 4 and whole["to_last_token_seconds"]["median"] == 5
    assert whole["measured_speedup"]["median"] == 12 / 4 and whole["whole_speedup"]["median"] == 14 / 5
    assert whole["modelled_tower_speedup"] == plan.baseline_vision_tflops / plan.vision_tflops > 1.2
    assert whole["quotient"] == pytest.approx(3 / whole["modelled_speedup"])


def test_growth_has_the_tower_in_it():
    def run(_name, frames):
        return Measurement(1.0, 2.0, None, 9, 4, 7, before={"preprocess": 1.0, "tower": float(frames)})

    points = grow(run, lambda _name, frames: frames, ["aim"], [8, 16], seconds_limit=100)
    assert [(point["tower_seconds"], point["to_first_token_seconds"]) for point in points] == [(8, 11), (16, 19)]
    machine = {"device": "a machine", "dtype": "float32", "torch": "2", "transformers": "5", "python": "3"}
    head = {"model": "made up", "text_tokens": 9, "new_tokens": 2, "machine": machine, "titles": {"aim": "AIM"}}
    assert "AIM: tower" in growth_text(head | {"growth": points}) and "19.0 s" in growth_text(head | {"growth": points})


class TestCommand:
    start = ["bench", "--model", "bundled", "--device", "cpu", "--frames", "2", "--text-tokens", "20", "--new-tokens", "2", "--runs", "1"]

    @pytest.mark.whole
    def test_a_result_line_has_the_figures_of_the_table(self, capsys):
        main([*self.start, "--end-to-end", "--tower-merge", "0.4"])
        printed = capsys.readouterr().out.splitlines()
        [line] = [line for line in printed if line.startswith("RESULT ")]
        result = json.loads(line.removeprefix("RESULT "))
        assert line == printed[-1] and result["frames"] == 2
        assert list(result["variants"]) == ["sdpa", "aim", "sdpa, tower merge 0.4", "aim, tower merge 0.4"]
        for variant in result["variants"].values():
            assert variant["end_to_end"]["to_first_token_seconds"] > variant["first_token_seconds"] > variant["prefill_seconds"] > 0
        assert any("sum to the first token" in text for text in printed)

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (["--tower-merge", "0.4"], "give --end-to-end with it"),
            (["--tower-reuse", "0.03"], "give --end-to-end with it"),
            (["--end-to-end", "--tower-merge", "1.5"], "accepted: a number above 0"),
            (["--end-to-end", "--still", "2"], "accepted: a number from 0 to 1"),
            (["--still", "0.5"], "give --end-to-end alone"),
            (["--end-to-end", "missing.mp4"], "missing.mp4"),
        ],
    )
    def test_mistakes_are_one_line_and_exit_code_2(self, given, message, capsys):
        with pytest.raises(SystemExit) as stopped:
            main([*self.start, *given])
        error = capsys.readouterr().err.strip()
        assert stopped.value.code == 2 and message in error and "\n" not in error
