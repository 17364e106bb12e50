"""Checkpoints are data: none of their code runs, only safetensors are read, and half a download is refused."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import aim
from aim.families import PUBLISHED, find_published
from aim.families.names import BUNDLED
from aim.kernels.refusal import Refusal
from aim.planning.plan import look_up
from aim.runtime.fitting import fitting, memory, weights
from aim.ui.host import load_model


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(BUNDLED, tmp_path / "secret-folder" / "checkpoint")


def change(path, **entries):
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


class Bomb:
    """Unpickled, it writes a file."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return open, (str(self.mark), "w")


def test_code_that_comes_with_a_checkpoint_is_never_run(folder, tmp_path):
    mark = tmp_path / "ran"
    for file in ("configuration_x.py", "modeling_x.py", "tokenization_x.py", "custom_generate/generate.py"):
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text(f"open({str(mark)!r}, 'w').close()\nclass X: pass\ndef generate(model, **k): pass\n")
    code = {"AutoConfig": "configuration_x.X", "AutoModelForImageTextToText": "modeling_x.X", "AutoModel": "modeling_x.X"}
    change(folder / "config.json", auto_map=code)
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization_x.X", "tokenization_x.X"]})
    assert aim.load(str(folder)).model.config.model_type == "llava_onevision"  # transformers' own code
    change(folder / "config.json", model_type="unheard-of", auto_map=code)
    with pytest.raises(ValueError, match="needs code of its own, which is never run here") as error:
        aim.load(str(folder))
    assert not mark.exists() and str(tmp_path) not in str(error.value)


def test_a_tokenizer_that_is_code_only_is_refused(folder, tmp_path):
    mark = tmp_path / "ran"
    (folder / "tokenization_x.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    change(folder / "tokenizer_config.json", tokenizer_class="UnheardOfTokenizer", auto_map={"AutoTokenizer": ["tokenization_x.X", None]})
    with pytest.raises(Refusal, match="needs code of its own, which is never run here") as error:
        aim.load(str(folder))
    assert str(tmp_path) not in str(error.value)
    assert not mark.exists()


def test_pickled_weights_are_not_read(folder, tmp_path):
    mark = tmp_path / "ran"
    (folder / "model.safetensors").unlink()
    torch.save({"weight": Bomb(mark)}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="no safetensors") as error:
        aim.load(str(folder))
    assert not mark.exists() and str(tmp_path) not in str(error.value)


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def without_a_layer(file):
    save_file({name: value for name, value in load_file(file).items() if ".layers.3." not in name}, file, {"format": "pt"})


def renamed(file):
    file.rename(file.with_suffix(".part"))


@pytest.mark.parametrize("break_it", [cut, without_a_layer, renamed])
def test_half_a_download_is_refused_in_a_sentence(folder, break_it, tmp_path):
    break_it(folder / "model.safetensors")
    with pytest.raises(ValueError, match='"checkpoint" is incomplete or damaged') as error:
        aim.load(str(folder))
    assert str(tmp_path) not in str(error.value)


@pytest.mark.parametrize("file", ["tokenizer.json", "config.json"])
def test_a_file_that_is_garbage_is_refused_in_a_sentence(folder, file, tmp_path):
    (folder / file).write_text("{")
    with pytest.raises(ValueError) as error:
        aim.load(str(folder))
    assert str(tmp_path) not in str(error.value) and "\n" not in str(error.value)


def test_the_app_stays_on_the_bundled_model_and_says_why(folder, tmp_path):
    cut(folder / "model.safetensors")
    vlm, notice = load_model(str(folder))
    assert vlm.is_bundled and "checkpoint" in notice and "incomplete" in notice and str(tmp_path) not in notice
    assert load_model("bundled")[1] == ""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(28, "No space left on device"), "disk of this server is full"),
        (torch.OutOfMemoryError("CUDA out of memory"), "does not fit into the memory"),
        (ModuleNotFoundError("No module named 'accelerate'", name="accelerate"), "lacks the Python package accelerate"),
        (ConnectionError("/root/.cache refused"), "log of this server tells why"),
    ],
)
def test_whatever_keeps_a_model_from_loading_the_app_starts(error, words):
    def loader(name, quantization=None):
        if name != "bundled":
            raise error
        return "the bundled model"

    vlm, notice = load_model("/home/somebody/some-model", loader=loader)
    assert vlm == "the bundled model" and words in notice and "/" not in notice and "some-model" in notice


def test_spreading_over_gpus_needs_accelerate_and_says_so(monkeypatch):
    monkeypatch.setattr("aim.runtime.checkpoints.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install accelerate"):
        aim.load("bundled", device="auto")


_MINICPM = ["openbmb/MiniCPM-V-4.6"] * ("minicpm-v-4.6" in PUBLISHED)


def test_the_models_that_fit_the_memory_are_told():
    assert 0.8e9 < weights(look_up("llava-onevision-qwen2-0.5b")) < 1.1e9 and 7.5e9 < weights(look_up("llava-onevision-qwen2-7b")) < 8.5e9
    assert fitting(10**8, 2) == []
    assert fitting(8 * 2**30, 4)[2:] == ["llava-hf/llava-onevision-qwen2-0.5b-ov-hf", "Qwen/Qwen3.5-0.8B", *_MINICPM]
    large, small = fitting(48 * 2**30, 2), fitting(24 * 2**30, 2)
    assert large[: len(small)] == small and "llava-hf/llava-onevision-qwen2-72b-ov-hf" not in large
    everything = [find_published(hub_id) for hub_id in fitting(10**15, 2)]
    sizes = [weights(look_up(model.name)) for model in everything]
    assert sizes == sorted(sizes)
    suggested = ("llava-onevision", "qwen", "smolvlm", "gemma-4", "glm", "videollama", "exaone", "minicpm", "molmo")
    assert {model.name for model in everything} == {name for name in PUBLISHED if name.startswith(suggested)}
    assert memory() > 10**8
