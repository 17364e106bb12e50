"""Without a rate and without a ratio the plugin's classes give what vLLM's own do, to the bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import aim
from aim.serving.vllm.served import SERVED
from tests.serving.vllm.cases import ASSETS, BUNDLED, QWEN
from tests.serving.vllm.checkpoints import CHECKPOINTS, save
from tests.serving.vllm.engines import answers, engine, prompt


def renamed(folder: Path) -> str:
    """The bundled checkpoint as vLLM's own class can load it; its path. The features are those before the tower's last norm."""
    shutil.copytree(ASSETS / "shapes-vlm", folder, dirs_exist_ok=True)
    weights = load_file(folder / "model.safetensors")
    inner = {name.replace("vision_tower.", "vision_tower.vision_model."): values for name, values in weights.items()}
    save_file(inner, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["tie_last_hidden_states"] = False
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def example() -> dict:
    clip = aim.read_video(ASSETS / "examples" / "colour.mp4", 4).frames
    return {"prompt": "<video>What?", "multi_modal_data": {"video": clip}}


def told(kind: str, folder: Path, home: str) -> list:
    """The prompts, answers and log-probabilities of an engine with this class, as they are. vLLM keeps a folder's class in mind."""
    checkpoint = save(kind, folder) if kind in CHECKPOINTS else renamed(folder)
    prompts = [prompt(title) for title in QWEN] if kind in CHECKPOINTS else [example()]
    with engine(kind, checkpoint, home, hf_overrides={} if kind in CHECKPOINTS else BUNDLED) as started:
        assert started.apply_model(lambda model: type(model).__name__) == [home.rpartition(":")[2]]
        outputs = answers(started, prompts)
    return [(said.prompt_token_ids, said.outputs[0].token_ids, said.outputs[0].logprobs) for said in outputs]


# Qwen3-VL shares with Qwen2.5-VL what would be wrong here.
@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.every if kind == "qwen2_5_vl" else ()) for kind in SERVED])
def test_an_unmerged_prompt_is_answered_as_by_vllms_own_class_to_the_bit(kind, tmp_path):
    architecture, home = SERVED[kind]
    module = home.partition(":")[0].rpartition(".")[2]
    own = told(kind, tmp_path / "own", f"vllm.model_executor.models.{module}:{architecture}")
    assert told(kind, tmp_path / "plugin", home) == own
