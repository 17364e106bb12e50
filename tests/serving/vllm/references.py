"""Writes what the tests of the vLLM plugin expect: answers of `aim.reduce` with merging only. Run it where the app runs, from the top
folder: `python -m tests.serving.vllm.references`."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path

import torch

import aim
from aim.kernels.merging import merge_clip
from aim.runtime.checkpoints import load_checkpoint
from tests.serving.vllm.cases import ASSETS, FPS, NEW_TOKENS, QWEN, RATIOS, REFERENCES, examples, frames_of
from tests.serving.vllm.checkpoints import CHECKPOINTS, save


class ClipsOnly(aim.AIM):
    """Merges as AIM, but leaves images as they are, which the plugin does too. It drops nothing, with l1 behind the last layer."""

    def merge(self, patches, *arguments):
        return super().merge(patches, *arguments) if len(patches) > 1 else merge_clip(patches, 1)

    def merged_tokens(self, frames: int, tokens_per_frame: int) -> int:
        return super().merged_tokens(frames, tokens_per_frame) if frames > 1 else tokens_per_frame


def answered(checkpoint, ids: list[int], inputs: dict, ratio: float) -> dict:
    """The greedy answer, the length of the prompt after merging, and log-probabilities of the likeliest first tokens."""
    model = checkpoint.model
    layers = model.config.text_config.num_hidden_layers
    prompt = torch.tensor([ids])
    with torch.inference_mode(), aim.reduce(model, ClipsOnly(ratio, layers, layers + 1)) as trace:
        said = model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            **inputs,
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
    first = said.logits[0][0].float().log_softmax(-1).topk(5)
    answer = said.sequences[0, len(ids) :].tolist()
    return {
        "prompt_tokens": sum(trace.tokens_per_layer[0]),
        "ids": answer,
        "text": checkpoint.tokenizer.decode(answer, skip_special_tokens=True).strip(),
        "first": dict(zip(first.indices.tolist(), (round(value, 5) for value in first.values.tolist()), strict=True)),
    }


def as_one(count: int, frames: int) -> str:
    """What Qwen2.5-VL's processor writes for a clip of `count` tokens."""
    return "<|video_pad|>" * count


def step_by_step(count: int, frames: int) -> str:
    """What Qwen3-VL's processor writes: each step of two frames behind the time of its middle. A last frame alone is taken twice."""
    steps = [(first, min(first + 1, frames - 1)) for first in range(0, frames, 2)]
    tokens = "<|video_pad|>" * (count // len(steps))
    return "".join(f"<{sum(step) / 2 / FPS:.1f} seconds><|vision_start|>{tokens}<|vision_end|>" for step in steps)


# How a prompt shows a clip, and what tells the model when the frames of several clips are.
PROMPTS = {
    "qwen2_5_vl": (as_one, lambda clips: {"second_per_grid_ts": [2 / FPS] * clips}),
    "qwen3_vl": (step_by_step, lambda clips: {}),
}


def bundled() -> dict:
    """Of the example clips, each with its question."""
    vlm = aim.load("bundled", "cpu", torch.float32)
    checkpoint = vlm.checkpoint
    answers = {}
    for example in examples():
        clip = aim.read_video(ASSETS / "examples" / example["file"], example["frames"])
        ids = vlm.prompt_ids(example["question"], vlm.grid_of(clip), ())
        inputs = checkpoint.family.pixel_values(checkpoint.model.config, clip.frames, checkpoint.pictures)
        answers[example["file"]] = {str(ratio): answered(checkpoint, ids, inputs, ratio) for ratio in RATIOS}
    return answers


def qwen(name: str, folder: Path) -> dict:
    """Of every prompt for one of the tiny Qwen models."""
    checkpoint = load_checkpoint(save(name, folder), "cpu", torch.float32)
    config, (written, times) = checkpoint.model.config, PROMPTS[name]
    answers = {}
    for title, (text, pictures) in QWEN.items():
        parts: dict[str, list[torch.Tensor]] = {}
        shown = []
        for kind, *shape in pictures:
            taking = checkpoint.taking(kind == "image")
            pixels = taking.family.pixel_values(config, frames_of(*shape), taking.pictures)
            count = int(pixels[f"{kind}_grid_thw"].prod()) // 4
            shown.append(written(count, shape[1]) if kind == "video" else "<|image_pad|>" * count)
            for key, value in pixels.items():
                parts.setdefault(key, []).append(value)
        inputs = {key: torch.cat(values) for key, values in parts.items()} | times(sum(kind == "video" for kind, *_ in pictures))
        in_turn = iter(shown)
        text = re.sub(r"<\|(video|image)_pad\|>", lambda _: next(in_turn), text)  # noqa: B023
        ids = checkpoint.tokenizer(text, add_special_tokens=False)["input_ids"]
        prompt = torch.tensor([ids])
        inputs["mm_token_type_ids"] = (prompt == config.image_token_id).int() + 2 * (prompt == config.video_token_id).int()
        answers[title] = {str(ratio): answered(checkpoint, ids, inputs, ratio) for ratio in RATIOS}
    return answers


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        of_qwen = {name: qwen(name, Path(folder, name)) for name in CHECKPOINTS}
        REFERENCES.write_text(json.dumps({"bundled": bundled(), **of_qwen}, indent=1) + "\n")
