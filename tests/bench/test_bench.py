"""The benchmark on tiny models: what it compares really is the same prompt, and what it says of a run is what the run did."""

import json
import resource

import pytest
import torch

import aim
from aim.bench import measure, sizes
from aim.bench.masked import masked
from aim.bench.measure import Measurement, VariantRuns, attempt, interleave, run_once
from aim.bench.summary import planned, spread, summarise
from aim.bench.variants import BASE, ROWS, variants_of
from aim.bench.workload import visual_tokens, workload
from aim.commands.main import main
from aim.kernels.refusal import Refusal
from aim.planning.plan import plan_for
from tests.tiny import clip_inputs, llava_onevision

PICTURES = {"size": {"height": 40, "width": 40}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
LAYERS, FRAMES, TEXT = 6, 4, 12


@pytest.fixture(scope="module")
def model():
    return llava_onevision(LAYERS, vocab_size=120)


@pytest.fixture(scope="module")
def work(model):
    return workload(model, PICTURES, FRAMES, TEXT)


def a_run(prefill=1.0, **changes):
    return Measurement(
        **{"prefill": prefill, "first_token": prefill, "decode_rate": 2.0, "peak_bytes": 9, "held_bytes": 4, "key_value_bytes": 7} | changes
    )


@pytest.mark.parametrize(("l1", "l2"), [(0, 3), (2, 5), (4, 9)])
def test_pruning_by_masks_gives_the_logits_of_slicing_at_the_prefill_and_while_decoding(model, l1, l2):
    method, inputs = aim.AIM(merge_ratio=1.0, l1=l1, l2=l2), clip_inputs()
    options = {"max_new_tokens": 5, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    with aim.reduce(model, method) as trace, torch.no_grad():
        sliced = model.generate(**inputs, **options)
    with masked(model, method) as attended, torch.no_grad():
        hidden = model.generate(**inputs, **options)
    assert attended == [visual for visual, _ in trace.tokens_per_layer]
    assert torch.equal(sliced.sequences, hidden.sequences)
    # Sums run in another order, and rounding adds up while decoding; one token more or fewer in one layer changes logits by far more.
    for ours, reference in zip(sliced.logits, hidden.logits, strict=True):
        assert (ours - reference).abs().max() <= 5e-5
    lengths = {layer.get_seq_length() for layer in hidden.past_key_values.layers}
    assert lengths == {inputs["input_ids"].shape[1] + 4}  # full length in every layer


def test_masks_leave_the_model_as_it_was_and_refuse_to_merge(model):
    before = model.config.text_config._attn_implementation
    with pytest.raises(KeyError), masked(model, aim.AIM(merge_ratio=1.0)):
        raise KeyError
    assert model.config.text_config._attn_implementation == before
    assert not any(layer._forward_pre_hooks for layer in model.model.language_model.layers)
    with pytest.raises(ValueError, match="cannot merge"), masked(model, aim.AIM(merge_ratio=0.5)):
        pass


def test_all_variants_see_the_same_visual_tokens(model, work):
    with torch.inference_mode(), visual_tokens(model, work):
        seen = [model(**work.inputs).logits, model(**work.inputs).logits]
        with aim.reduce(model, aim.Full()):
            seen.append(model(**work.inputs).logits)
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[0], seen[2])
    with torch.inference_mode():
        assert not torch.equal(model(**work.inputs).logits, seen[0])  # without them every patch is the placeholder's own embedding


def test_a_prompt_has_the_tokens_asked_for(model, work):
    ids = work.inputs["input_ids"]
    assert work.grid.tokens == FRAMES * 25 and ids.shape == (1, FRAMES * 25 + TEXT)
    with pytest.raises(Refusal, match="text_tokens is 2; .* at least 3"):
        workload(model, PICTURES, FRAMES, 2)


@pytest.mark.parametrize("name", list(ROWS))
def test_a_run_of_every_variant_executes_what_is_modelled(model, work, name):
    variant = variants_of([name], [aim.AIM(merge_ratio=0.25, l1=2, l2=5)], LAYERS)[name]
    run = run_once(model, variant, work, 3)
    plan = planned(model.config, variant, work, 4)
    assert run.key_value_bytes == plan.kv_bytes
    assert run.tokens_per_layer in ([], plan.tokens_per_layer)
    assert 0 < run.prefill < run.first_token and run.decode_rate > 0
    assert run.held_bytes > 0 and run.peak_bytes > 0
    assert run.merge is None or run.merge + run.importance < run.prefill
    assert not model._forward_hooks and not model.model.language_model._forward_pre_hooks


def test_figures_of_the_model_are_those_of_plan(model, work):
    method = aim.AIM(merge_ratio=0.25, l1=2, l2=5)
    variants = variants_of(["aim", "masked"], [method], LAYERS)
    plan = planned(model.config, variants["aim"], work, 4)
    assert plan == plan_for(model.config, FRAMES, TEXT, method, bytes_per_value=4)
    assert planned(model.config, variants["masked"], work, 4).speedup == 1  # hidden tokens are computed all the same


def test_rounds_are_interleaved_and_go_back_and_forth():
    variants, order = variants_of(["eager", "aim"], [], LAYERS), []

    def run(name):
        order.append(name)
        return a_run(float(len(order)))

    measured = interleave(run, variants, 4)
    assert order == ["sdpa", "eager", "aim", "aim", "eager", "sdpa", "sdpa", "aim", "aim", "sdpa"]  # eager in the first two only
    assert list(measured["aim"].runs) == [0, 1, 2, 3] and list(measured["eager"].runs) == [0, 1]


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(MemoryError(), marks=pytest.mark.whole),
        torch.cuda.OutOfMemoryError("CUDA out of memory"),
        pytest.param(RuntimeError("DefaultCPUAllocator: can't allocate memory"), marks=pytest.mark.whole),
    ],
)
def test_running_out_of_memory_ends_a_variant_and_no_other(model, work, monkeypatch, error):
    variants = variants_of(["merge", "aim"], [], LAYERS)
    calls = []

    def run(name):
        calls.append(name)
        if name == BASE:
            with monkeypatch.context() as patch:
                patch.setattr(model.lm_head, "forward", lambda *_a, **_k: (_ for _ in ()).throw(error))
                return attempt(lambda: run_once(model, variants[name], work, 2), model.device, None)
        return attempt(lambda: run_once(model, variants[name], work, 2), model.device, None)

    measured = interleave(run, variants, 2)
    assert measured[BASE].ended == "out of memory" and calls.count(BASE) == 1
    assert len(measured["aim"].runs) == len(measured["merge"].runs) == 2
    summary = summarise("aim", variants["aim"], measured, planned(model.config, variants["aim"], work, 4))
    assert summary["measured_speedup"] is None and summary["quotient"] is None and summary["prefill_seconds"]["median"] > 0
    assert summarise(BASE, variants[BASE], measured, planned(model.config, variants[BASE], work, 4))["ended"] == "out of memory"


def test_other_errors_are_not_taken_for_want_of_memory():
    def broken():
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="do not fit"):
        attempt(broken, torch.device("cpu"), None)


def test_a_memory_limit_is_kept_and_gone_afterwards():
    cpu, size = torch.device("cpu"), 2**27  # 512 MiB of float32
    before = resource.getrlimit(resource.RLIMIT_DATA)
    assert attempt(lambda: torch.ones(size), cpu, 4 * size).startswith("out of memory (0.537 GB)")
    assert resource.getrlimit(resource.RLIMIT_DATA) == before and len(torch.ones(size)) == size


def test_speedups_are_medians_of_pairs_of_the_same_round(model, work):
    variants = variants_of(["aim"], [], LAYERS)
    times = {"sdpa": [8.0, 30.0, 9.0], "aim": [2.0, 10.0, 1.0]}
    measured = {
        name: VariantRuns({number: a_run(value, merge=0.1, importance=0.2) for number, value in enumerate(values)})
        for name, values in times.items()
    }
    plan = planned(model.config, variants["aim"], work, 4)
    summary = summarise("aim", variants["aim"], measured, plan)
    assert summary["measured_speedup"] == {"median": 4.0, "min": 3.0, "max": 9.0}
    assert summary["quotient"] == 4.0 / plan.speedup and summary["causal_quotient"] == 4.0 / plan.causal_speedup
    assert summary["importance_share"] == {"median": 0.1, "min": 0.02, "max": 0.2}
    assert summary["working_bytes"]["median"] == 5 and summary["kv_bytes"] == 7
    assert spread([]) is None


def test_a_further_method_becomes_a_row_of_its_own():
    methods = [aim.AIM(merge_ratio=0.5), aim.AIM(merge_ratio=0.1)]
    variants = variants_of(["aim"], methods, LAYERS)
    assert variants["aim"].method == methods[0].for_depth(LAYERS)
    assert [variant.method for name, variant in variants.items() if name not in ROWS] == [methods[1].for_depth(LAYERS)]
    with pytest.raises(Refusal, match="no variant fast; there are sdpa, eager"):
        variants_of(["fast"], [], LAYERS)


def test_a_random_model_has_every_tensor_filled_and_the_buffers_of_a_stock_one():
    stock = llava_onevision(2)
    made = sizes.random_model(stock.config, torch.device("cpu"), torch.float32)
    expected = dict(stock.named_buffers())
    assert {name: buffer.tolist() for name, buffer in made.named_buffers()} == {name: buffer.tolist() for name, buffer in expected.items()}
    for name, parameter in made.named_parameters():
        assert torch.isfinite(parameter).all()
        if parameter.dim() > 1:
            assert 0.1 < parameter.std() < 0.6, name  # initializer_range is 0.3
    weight = made.model.language_model.layers[0].mlp.up_proj.weight
    assert not torch.equal(weight[0], weight[1])
    with torch.no_grad():
        assert torch.isfinite(made(**clip_inputs()).logits).all()


class TestCommand:
    arguments = [
        "bench",
        "--model",
        "bundled",
        "--device",
        "cpu",
        "--frames",
        "2",
        "--text-tokens",
        "9",
        "--new-tokens",
        "2",
        "--runs",
        "1",
    ]

    @pytest.mark.long
    def test_json_has_a_row_for_every_variant_with_every_figure(self, capsys):
        main([*self.arguments, "--vision-frames", "1", "--json"])
        report = json.loads(capsys.readouterr().out)
        assert [row["name"] for row in report["variants"]] == list(ROWS)
        keys = {"prefill_seconds", "first_token_seconds", "decode_tokens_per_second", "peak_bytes", "working_bytes", "kv_bytes"}
        keys |= {"modelled_kv_bytes", "modelled_speedup", "causal_speedup", "measured_speedup", "quotient", "causal_quotient"}
        keys |= {"merge_seconds", "importance_seconds"}
        for row in report["variants"]:
            assert keys <= set(row) and row["kv_bytes"] == row["modelled_kv_bytes"] and row["quotient"] > 0
        assert report["vision"]["tower_seconds"] > 0 and set(report["machine"]) == {"device", "dtype", "torch", "transformers", "python"}
        expected = aim.plan("bundled", 2, 9, aim.AIM())
        assert report["variants"][-1]["modelled_speedup"] == pytest.approx(expected.speedup)

    def test_text_is_tables_to_paste(self, capsys):
        main([*self.arguments, "--variants", "aim", "--merge-ratio", "0.5", "--vision-frames", "0"])
        text = capsys.readouterr().out
        assert "| stock, SDPA |" in text.replace("  ", "") and "| importance" in text
        assert "KV cache: exactly the bytes modelled" in text and "vision tower" not in text

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            (["--runs", "0"], "--runs is 0; accepted: 1 or more"),
            (["--frames", "4", "8"], "without --growth one clip is measured"),
            (["--chart", "x.html"], "give --growth with it"),
            (["--limit-gb", "0"], "above 0"),
            (["--model", "llava-onevision-qwen2-0.5b", "--quantization", "8bit"], "random weights"),
            (["--model", "bundled", "--quantization", "8bit"], "needs a CUDA device"),
            (["--model", "llava-onevision-qwen2-72b", "--limit-gb", "1"], "weights of llava-onevision-qwen2-72b do not fit: out of memory"),
            (["--model", "no-such-model"], '"no-such-model" is not on this machine'),
        ],
    )
    def test_mistakes_are_one_line_and_exit_code_2(self, given, message, capsys):
        with pytest.raises(SystemExit) as stopped:
            main([*self.arguments, *given])
        error = capsys.readouterr().err.strip()
        assert stopped.value.code == 2 and message in error and "\n" not in error


def test_the_vision_tower_is_timed_on_frames_of_its_own(model):
    vision = measure.measure_vision(model, PICTURES, 3)
    assert vision.frames == 3 and vision.tower_seconds > 0 and vision.preprocess_seconds > 0
