"""Quantised loading is offered where it can be had, and refused in one clear line elsewhere; nothing is loaded before that is known."""

import importlib.util

import pytest
import torch

import aim
from aim.commands.main import main
from aim.families import FAMILIES
from aim.kernels.refusal import Refusal
from aim.runtime import checkpoints
from aim.runtime.checkpoints import check_quantization, quantization_config, refuse_experts
from aim.runtime.limits import QUANTIZATIONS
from tests.fakes import make_clip
from tests.tiny import TINY
from tests.visitor import EXAMPLES, examples

CUDA = torch.device("cuda")


@pytest.mark.parametrize("quantization", list(QUANTIZATIONS))
def test_a_cpu_is_refused_before_anything_is_loaded(quantization, monkeypatch):
    monkeypatch.setattr(checkpoints.AutoConfig, "from_pretrained", lambda *_a, **_k: pytest.fail("it was loaded"))
    with pytest.raises(ValueError, match=f"quantization='{quantization}' needs a CUDA device, and the model goes to cpu"):
        aim.load("bundled", device="cpu", quantization=quantization)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(ValueError, match="needs the package bitsandbytes. Run `pip install bitsandbytes`"):
        check_quantization("4bit", CUDA)


def test_an_unknown_kind_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match='quantization is \'2bit\'; accepted: "8bit" or "4bit"'):
        aim.load("bundled", device="cpu", quantization="2bit")


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_transformers_gets_the_kind_asked_for_and_what_the_family_keeps_whole(family):
    """What those names keep whole is held in tests/families/test_published.py."""
    eight, four = (quantization_config(kind, torch.bfloat16, family) for kind in ("8bit", "4bit"))
    assert eight.load_in_8bit and not eight.load_in_4bit
    assert four.load_in_4bit and four.bnb_4bit_quant_type == "nf4" and four.bnb_4bit_compute_dtype == torch.bfloat16
    assert eight.llm_int8_skip_modules == four.llm_int8_skip_modules == list(family.unquantised)


@pytest.mark.parametrize("name", TINY)
def test_a_model_whose_weights_are_mostly_experts_is_refused_and_no_other(name):
    config, family = TINY[name].model().config, FAMILIES[name]
    if "moe" not in name and name != "step3p7":
        refuse_experts("4bit", config, family)
        return
    with pytest.raises(Refusal, match="'4bit' would leave most of this model whole: its LLM has experts"):
        refuse_experts("4bit", config, family)


@pytest.mark.skipif(not (torch.cuda.is_available() and importlib.util.find_spec("bitsandbytes")), reason="needs a GPU and bitsandbytes")
@pytest.mark.parametrize("quantization", list(QUANTIZATIONS))
def test_a_quantised_model_answers_from_its_gpu(quantization):
    vlm = aim.load("bundled", device="cuda", quantization=quantization)
    layer = vlm.model.model.language_model.layers[0].mlp.up_proj
    assert layer.weight.element_size() == 1 and layer.weight.device.type == "cuda"
    assert vlm.ask(make_clip(2), "what colour is the circle?", max_new_tokens=2).new_tokens


def test_the_command_line_refuses_in_one_line(capsys):
    with pytest.raises(SystemExit):
        main(["ask", str(EXAMPLES / examples()[0]["file"]), "what?", "--frames", "1", "--device", "cpu", "--quantization", "8bit"])
    error = capsys.readouterr().err.strip()
    assert "needs a CUDA device" in error and "\n" not in error
