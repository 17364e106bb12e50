"""bfloat16 where the GPU computes in it, float16 elsewhere on CUDA, and float32 where float16 does not hold a model's values."""

import logging
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import aim
from aim.families.names import BUNDLED
from aim.kernels.refusal import Refusal
from aim.runtime import checkpoints
from aim.runtime.precision import device_and_dtype, is_finite, told_of
from aim.video.clip import clip_from_frames
from tests.rows import one_in

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
TOWER, PROJECTOR, LLM = "vision_tower", "multi_modal_projector", "language_model"


@pytest.mark.parametrize(
    ("capability", "dtype"),
    [((7, 0), torch.float16), ((7, 5), torch.float16), ((8, 0), torch.bfloat16), ((8, 9), torch.bfloat16), ((9, 0), torch.bfloat16)],
    ids=["V100", "T4", "A100", "L4", "H100"],
)
def test_the_type_is_what_the_gpu_computes_in(capability, dtype, monkeypatch):
    asked = []
    monkeypatch.setattr(torch.version, "hip", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: asked.append(device) or capability)
    assert device_and_dtype("cuda:1", None) == (torch.device("cuda:1"), dtype)
    assert asked == [torch.device("cuda:1")]


def test_amd_gpus_compute_in_bfloat16(monkeypatch):
    monkeypatch.setattr(torch.version, "hip", "7.0")
    assert device_and_dtype(CUDA, None) == (CUDA, torch.bfloat16)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_type_that_is_named_is_kept_and_no_gpu_is_asked(dtype, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: pytest.fail("the GPU was asked"))
    assert device_and_dtype(CUDA, dtype) == (CUDA, dtype)
    assert device_and_dtype(CPU, dtype) == (CPU, dtype)


def test_a_cpu_computes_in_float32():
    assert device_and_dtype("cpu", None) == (CPU, torch.float32)


@pytest.mark.parametrize(("dtype", "taken"), [(None, torch.float32), (torch.float16, torch.float16), (torch.bfloat16, torch.bfloat16)])
def test_apples_gpus_are_taken_by_name_and_told_to_be_untested(dtype, taken, monkeypatch, caplog):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert device_and_dtype("mps", dtype) == (torch.device("mps"), taken)
    [line] = caplog.messages
    assert "tested" in line and "mps" in line
    assert told_of(torch.device("mps"), torch.float32) == "mps float32 (untested)"


def test_a_type_that_apples_gpus_do_not_have_is_refused():
    with pytest.raises(Refusal, match="dtype is torch.float64; accepted: torch.float32, .* Use torch.float32"):
        device_and_dtype("mps", torch.float64)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has one")
def test_apples_gpu_is_refused_where_there_is_none(caplog):
    with pytest.raises(Refusal, match="device is 'mps'; accepted: a device that this machine has"):
        aim.load("bundled", device="mps")
    assert not caplog.records


@pytest.fixture
def on_a_t4(monkeypatch):
    """Loading picks float16 by itself, and the model stays on the CPU."""
    monkeypatch.setattr(checkpoints, "device_and_dtype", lambda _device, dtype: (CPU, dtype or torch.float16))


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(BUNDLED, tmp_path / "secret-folder" / "some-model")


def grow(folder, part):
    """Make activations in one part of the model grow past float16's 65,504. No weight does."""
    file = folder / "model.safetensors"
    weights = load_file(file)
    ends = {
        TOWER: ("fc1.weight", "fc2.weight"),
        PROJECTOR: ("linear_1.weight", "linear_2.weight"),
        LLM: ("up_proj.weight", "down_proj.weight"),
    }
    grown = [name for name in weights if part in name and name.endswith(ends[part])]
    weights |= {name: weights[name] * 2000 for name in grown}
    assert grown and max(float(weights[name].abs().max()) for name in grown) < 65504
    save_file(weights, file, {"format": "pt"})
    return weights


def test_a_model_that_float16_holds_stays_in_it(on_a_t4, folder, caplog):
    vlm = aim.load(str(folder))
    assert vlm.dtype == torch.float16 and not caplog.records


@pytest.mark.parametrize("part", one_in(3, [LLM, TOWER, PROJECTOR]))
def test_a_model_that_overflows_float16_is_loaded_again_in_float32(on_a_t4, folder, part, caplog):
    weights = grow(folder, part)
    with caplog.at_level(logging.WARNING, "aim.runtime"):
        vlm = aim.load(str(folder))
    assert vlm.dtype == torch.float32
    [line] = caplog.messages
    assert "some-model" in line and "float16" in line and "secret-folder" not in line
    # Loaded again and not converted: nothing is rounded to float16.
    loaded = {name: value for name, value in vlm.model.state_dict().items() if name.endswith("layers.1.mlp.up_proj.weight")}
    [saved] = [value for name, value in weights.items() if name.endswith("layers.1.mlp.up_proj.weight")]
    assert [torch.equal(value, saved.float()) for value in loaded.values()] == [True]
    clip = clip_from_frames(np.random.default_rng(1).integers(0, 256, (2, 48, 48, 3), np.uint8), 1.0)
    assert vlm.ask(clip, "what color?", max_new_tokens=1).next_token.isfinite().all()


@pytest.mark.parametrize("part", [TOWER, LLM])
def test_the_check_finds_what_a_real_run_would_give(folder, part):
    grow(folder, part)
    vlm = aim.load(str(folder), dtype=torch.float16)
    assert vlm.dtype == torch.float16  # named, so kept
    clip = clip_from_frames(np.random.default_rng(1).integers(0, 256, (2, 48, 48, 3), np.uint8), 1.0)
    encoded = vlm.encode(clip.frames)
    with torch.inference_mode():
        output = vlm.model.generate(
            **vlm.inputs("what color?", encoded), max_new_tokens=1, output_logits=True, return_dict_in_generate=True, do_sample=False
        )
    assert not output.logits[0].isfinite().all() and not is_finite(vlm)
