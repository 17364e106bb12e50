"""Quantised loading is offered where it can be had, and refused in one clear line elsewhere; nothing is loaded before that is known."""

import importlib.util

import pytest
import torch

import aim
from aim.commands.main import main
from aim.families import FAMILIES
from aim.runtime import checkpoints
from aim.runtime.checkpoints import check_quantization, quantization_config
from aim.runtime.limits import QUANTIZATIONS

CUDA = torch.device("cuda")


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())


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
    with pytest.raises(ValueError, match="quantization is '2bit'; accepted: 8bit, 4bit"):
        aim.load("bundled", device="cpu", quantization="2bit")


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_transformers_gets_the_kind_asked_for_and_the_tower_stays_whole(installed, family):
    eight, four = (quantization_config(kind, torch.bfloat16, family) for kind in ("8bit", "4bit"))
    assert eight.load_in_8bit and not eight.load_in_4bit
    assert four.load_in_4bit and four.bnb_4bit_quant_type == "nf4" and four.bnb_4bit_compute_dtype == torch.bfloat16
    for config in (eight, four):
        assert config.llm_int8_skip_modules == list(family.unquantised)


def test_a_quantised_model_is_placed_while_loading_and_not_moved_after(installed, monkeypatch):
    given = {}

    class Loaded:
        def eval(self):
            return self

        def to(self, *_where):
            pytest.fail("quantised weights were moved")

    def from_pretrained(_source, **options):
        given.update(options)
        return Loaded(), {"missing_keys": []}

    monkeypatch.setattr(checkpoints.AutoModelForImageTextToText, "from_pretrained", from_pretrained)
    checkpoints.load_checkpoint("bundled", CUDA, quantization="4bit")
    assert given["quantization_config"].load_in_4bit and given["device_map"] == {"": CUDA}
    assert "model.vision_tower" in given["quantization_config"].llm_int8_skip_modules
    assert given["use_safetensors"] is True and given["dtype"] == torch.bfloat16


def test_the_command_line_refuses_in_one_line(capsys):
    from tests.visitor import EXAMPLES, examples

    with pytest.raises(SystemExit):
        main(["ask", str(EXAMPLES / examples()[0]["file"]), "what?", "--frames", "1", "--device", "cpu", "--quantization", "8bit"])
    error = capsys.readouterr().err.strip()
    assert "needs a CUDA device" in error and "\n" not in error
