"""The families as tests run over them: each with its tiny random model, and inputs as its processor returns them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature

import pytest
import torch
from transformers import LlavaOnevisionForConditionalGeneration

from aim.bench.tiny_models import (
    IMAGE,
    NEWLINE,
    PAD,
    VIDEO,
    gemma3,
    gemma4,
    internvl,
    llava,
    llava_next_video,
    llava_onevision,
    qwen2_5_vl,
    qwen2_vl,
    qwen3_5,
    qwen3_5_moe,
    qwen3_vl,
    qwen3_vl_moe,
    smolvlm,
)
from aim.bench.tiny_models import TEXT as TEXT
from aim.bench.tiny_models import VISION as VISION
from aim.families.gemma4_tower import ONE_AXIS

takes_features = pytest.mark.skipif(
    "mm_encoder_outputs" not in signature(LlavaOnevisionForConditionalGeneration.forward).parameters,
    reason="transformers takes features of several clips, or of another length, since 5.18",
)

# A picture as a processor returns it: (ids, further inputs with the pictures along the first axis).
Part = tuple[list[int], dict[str, torch.Tensor]]


def _llava_onevision_clip(frames: int, generator) -> Part:
    return [VIDEO] * (frames * 25 + 1), {"pixel_values_videos": torch.randn(1, frames, 3, 40, 40, generator=generator)}


def _llava_onevision_image(generator) -> Part:
    """Base views alone, as several images in a prompt have them; see `TinyFamily.image_inputs`."""
    pixels = torch.randn(1, 1, 3, 40, 40, generator=generator)
    return [IMAGE] * 101, {"pixel_values": pixels, "image_sizes": torch.tensor([[30, 50]])}


def _llava_clip(frames: int, generator) -> Part:
    return ([IMAGE] * 25 + [NEWLINE]) * frames, {"pixel_values": torch.randn(frames, 3, 20, 20, generator=generator)}


def _llava_image(generator) -> Part:
    return [IMAGE] * 25, {"pixel_values": torch.randn(1, 3, 20, 20, generator=generator)}


def _llava_next_video_clip(frames: int, generator) -> Part:
    return [VIDEO] * (frames * 25), {"pixel_values_videos": torch.randn(1, frames, 3, 40, 40, generator=generator)}


def _llava_next_video_image(generator) -> Part:
    """The whole view and 1 x 2 tiles, of which 10 rows of 16 are left."""
    pixels = torch.randn(1, 3, 3, 40, 40, generator=generator)
    return [IMAGE] * (100 + 10 * 17), {"pixel_values": pixels, "image_sizes": torch.tensor([[30, 50]])}


def _internvl_clip(frames: int, generator) -> Part:
    ids = [token for frame in range(frames) for token in [NEWLINE, 3 + frame, 95, *[IMAGE] * 25, 96]]
    return ids, {"pixel_values": torch.randn(frames, 3, 40, 40, generator=generator)}


def _internvl_image(generator) -> Part:
    """Two tiles and a thumbnail, one behind the other."""
    return [95, *[IMAGE] * 75, 96], {"pixel_values": torch.randn(3, 3, 40, 40, generator=generator)}


def _smolvlm_clip(frames: int, generator) -> Part:
    ids = [token for frame in range(frames) for token in [NEWLINE, 3 + frame, 95, 96, *[IMAGE] * 25, 95]]
    return ids, {"pixel_values": torch.randn(1, frames, 3, 40, 40, generator=generator)}


def _smolvlm_image(generator) -> Part:
    return [95, 96, *[IMAGE] * 25, 95], {"pixel_values": torch.randn(1, 1, 3, 40, 40, generator=generator)}


def _gemma3_clip(frames: int, generator) -> Part:
    return [NEWLINE, 95, *[IMAGE] * 25, 96] * frames, {"pixel_values": torch.randn(frames, 3, 40, 40, generator=generator)}


def _gemma3_image(generator) -> Part:
    return _gemma3_clip(1, generator)


def gemma4_places(pictures: int, rows: int, padding: int = 0) -> torch.Tensor:
    """Column and row of `rows` x 10 patches, and of as many as `padding` that are none."""
    places = torch.stack(torch.meshgrid(torch.arange(10), torch.arange(rows), indexing="xy"), dim=-1).flatten(0, 1)
    return torch.cat([places, torch.full((padding, 2), -1)]).expand(pictures, -1, -1)


def _gemma4_clip(frames: int, generator) -> Part:
    """Two words for the time before each frame. Before transformers 5.19 the videos had an axis of their own."""
    ids = [token for frame in range(frames) for token in [3 + frame, 50, 95, *[VIDEO] * 25, 96]]
    patches, places = torch.randn(frames, 100, 48, generator=generator), gemma4_places(frames, 10)
    if not ONE_AXIS:
        return ids, {"pixel_values_videos": patches[None], "video_position_ids": places[None]}
    return ids, {"pixel_values_videos": patches, "video_position_ids": places, "num_frames_per_video": torch.tensor([frames])}


def _gemma4_image(generator) -> Part:
    """4 x 5 tokens, padded to 5 x 5."""
    pixels = torch.randn(1, 100, 48, generator=generator)
    return [95, *[IMAGE] * 20, 96], {"pixel_values": pixels, "image_position_ids": gemma4_places(1, 8, 20)}


def _qwen_clip(frames: int, generator) -> Part:
    steps = -(-frames // 2)
    patches = torch.randn(steps * 140, 96, generator=generator)
    sizes = torch.tensor([[steps, 10, 14]])
    return [95, *[VIDEO] * (steps * 35), 96], {"pixel_values_videos": patches, "video_grid_thw": sizes}


def _timed_clip(frames: int, generator) -> Part:
    """As `_qwen_clip`, with two words for the time before each step, and markers around it."""
    ids, inputs = _qwen_clip(frames, generator)
    steps = int(inputs["video_grid_thw"][0, 0])
    return [95, *(token for step in range(steps) for token in [3 + step, 50, 95, *[VIDEO] * 35, 96]), 96], inputs


def _timed_words(frames: int) -> int:
    return 2 + 4 * -(-frames // 2)


def _qwen_image(generator) -> Part:
    """Of a size of its own: 3 x 4, 3 x 5 or 3 x 6 tokens."""
    columns = int(torch.randint(4, 7, (1,), generator=generator))
    patches = torch.randn(12 * columns, 96, generator=generator)
    sizes = torch.tensor([[1, 6, 2 * columns]])
    return [95, *[IMAGE] * (3 * columns), 96], {"pixel_values": patches, "image_grid_thw": sizes}


@dataclass(frozen=True)
class TinyFamily:
    """One family: `model(layers=6, seed=0, **text config)`, and inputs for it as its processor would return them.

    Attributes:
        per_frame: visual tokens of a frame of a clip, or of a step of `step` frames.
        separators: text tokens a clip brings by itself: (frames) → number.
        linear: the even layers of its LLM are linear attention, which caches no tokens.
        tiled: it shows every image in tiles too, whose patches the hooks on its tower do not report.
        windows: all layers of its LLM but every third have a window, which is longer than the prompts.
    """

    model: Callable
    clip: Callable[..., Part]
    image: Callable[..., Part]
    per_frame: int
    separators: Callable[[int], int]
    step: int = 1
    token_types: str = ""
    counts_images: bool = False
    linear: bool = False
    tiled: bool = False
    windows: bool = False

    def cached(self, lengths: list[int]) -> list[int]:
        """How many entries the layers' caches hold where the layers ran on so many tokens."""
        return [0 if self.linear and layer % 2 == 0 else length for layer, length in enumerate(lengths)]

    def watched(self, lengths: list[int]) -> list[int]:
        """How many of so many tokens the layers' rows of attention tell of: none where a layer does not see the whole prompt."""
        return [0 if self.windows and layer % 3 != 2 else length for layer, length in enumerate(self.cached(lengths))]

    def tokens(self, frames: int) -> int:
        """Visual tokens of a clip."""
        return -(-frames // self.step) * self.per_frame

    def video_inputs(self, frames=4, seed=0, before=3, after=6) -> dict[str, torch.Tensor]:
        """One clip and a question, batch 1; where the family knows no videos, the frames as images."""
        generator = torch.Generator().manual_seed(seed)
        return self._prompt([_words(before, generator), self.clip(frames, generator), _words(after, generator)])

    def image_inputs(self, images=3, seed=0, before=3, after=6) -> dict[str, torch.Tensor]:
        """Several images, the first two side by side and text between the others, and a question, batch 1."""
        generator = torch.Generator().manual_seed(seed)
        parts = [_words(before, generator), self.image(generator)]
        for number in range(1, images):
            parts += [_words(2 * (number > 1), generator), self.image(generator)]
        return self._prompt([*parts, _words(after, generator)])

    def batch_inputs(self, frames=4, seed=0, texts=((3, 6), (5, 11))) -> tuple[dict[str, torch.Tensor], list[dict[str, torch.Tensor]]]:
        """(a batch padded on the left, each of its prompts alone): a clip each, `texts` are the words before and after it."""
        alone = [self.video_inputs(frames, seed + number, *words) for number, words in enumerate(texts)]
        longest = max(inputs["input_ids"].shape[1] for inputs in alone)
        batch = {}
        for name in alone[0]:
            values = [inputs[name] for inputs in alone]
            if name in ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids"):
                values = [torch.nn.functional.pad(value, (longest - value.shape[1], 0), value=PAD) for value in values]
            batch[name] = torch.cat(values)
        return batch, alone

    def _prompt(self, parts: list[Part]) -> dict[str, torch.Tensor]:
        ids = torch.tensor([[token for part, _ in parts for token in part]])
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        names = dict.fromkeys(name for _, further in parts for name in further)
        for name in names:
            inputs[name] = torch.cat([further[name] for _, further in parts if name in further])
        if self.token_types:
            inputs[self.token_types] = (ids == IMAGE).int() + 2 * (ids == VIDEO).int()
        if self.counts_images and "image_sizes" in inputs:
            inputs["batch_num_images"] = torch.tensor([len(inputs["image_sizes"])])
        return inputs


def _words(count: int, generator) -> Part:
    return torch.randint(3, 90, (count,), generator=generator).tolist(), {}


TINY: dict[str, TinyFamily] = {
    "llava_onevision": TinyFamily(llava_onevision, _llava_onevision_clip, _llava_onevision_image, 25, lambda frames: 1, counts_images=True),
    "llava": TinyFamily(llava, _llava_clip, _llava_image, 25, lambda frames: frames),
    "llava_next_video": TinyFamily(llava_next_video, _llava_next_video_clip, _llava_next_video_image, 25, lambda frames: 0, tiled=True),
    "qwen2_vl": TinyFamily(qwen2_vl, _qwen_clip, _qwen_image, 35, lambda frames: 2, step=2, token_types="mm_token_type_ids"),
    "qwen2_5_vl": TinyFamily(qwen2_5_vl, _qwen_clip, _qwen_image, 35, lambda frames: 2, step=2, token_types="mm_token_type_ids"),
    "qwen3_vl": TinyFamily(qwen3_vl, _timed_clip, _qwen_image, 35, _timed_words, step=2, token_types="mm_token_type_ids"),
    "qwen3_vl_moe": TinyFamily(qwen3_vl_moe, _timed_clip, _qwen_image, 35, _timed_words, step=2, token_types="mm_token_type_ids"),
    "qwen3_5": TinyFamily(qwen3_5, _timed_clip, _qwen_image, 35, _timed_words, step=2, token_types="mm_token_type_ids", linear=True),
    "qwen3_5_moe": TinyFamily(
        qwen3_5_moe, _timed_clip, _qwen_image, 35, _timed_words, step=2, token_types="mm_token_type_ids", linear=True
    ),
    "internvl": TinyFamily(internvl, _internvl_clip, _internvl_image, 25, lambda frames: 4 * frames),
    "smolvlm": TinyFamily(smolvlm, _smolvlm_clip, _smolvlm_image, 25, lambda frames: 5 * frames),
    "gemma3": TinyFamily(gemma3, _gemma3_clip, _gemma3_image, 25, lambda frames: 3 * frames, token_types="token_type_ids", windows=True),
    "gemma4": TinyFamily(gemma4, _gemma4_clip, _gemma4_image, 25, lambda frames: 4 * frames, token_types="mm_token_type_ids", windows=True),
}


def clip_inputs(frames=4, seed=0, before=3, after=6):
    """One clip and a question for `llava_onevision`: ids [1, n], mask, pixel values [1, F, 3, 40, 40]."""
    return TINY["llava_onevision"].video_inputs(frames, seed, before, after)


def pictures_of(inputs: dict) -> dict:
    """What of a prompt's inputs its pictures are."""
    return {name: value for name, value in inputs.items() if name.startswith(("pixel", "video_", "num_frames"))}


def both_kinds(tiny):
    """A clip and an image in one prompt of a Qwen family."""
    clip, image = tiny.video_inputs(), tiny.image_inputs(images=1, seed=1)
    inputs = {**clip, **image}
    for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
        inputs[name] = torch.cat([clip[name], image[name]], dim=1)
    return inputs


def fingerprint(model):
    """Everything a run could leave behind on the model: hooks, attributes and attention choice of every module, and the configs.

    Compare after a stock run of the same kind, which notes things on the model by itself (M-RoPE's offset, hooks that capture outputs).
    """
    modules = []
    for name, module in model.named_modules():
        hooks = tuple(len(getattr(module, kind)) for kind in ("_forward_pre_hooks", "_forward_hooks", "_backward_hooks"))
        modules.append((name, hooks, tuple(sorted(module.__dict__)), module.forward.__func__))
    configs = (model.config, model.config.text_config, model.config.vision_config, model.generation_config)
    return modules, [c.to_dict() for c in configs], [c._attn_implementation for c in configs[:3]]


def by_default(*, without: Callable[[str], bool], mark: pytest.MarkDecorator = pytest.mark.whole) -> list:
    """Every family as a parameter; those that `without` names have the mark."""
    return [pytest.param(name, marks=mark if without(name) else ()) for name in TINY]


# Families that differ from another one in little, or (Gemma) in what tests/engine/test_windows.py looks at by default.
ALIKE = {"llava", "llava_next_video", "qwen2_vl", "qwen3_vl_moe", "qwen3_5_moe", "gemma3", "gemma4"}
EACH = by_default(without=ALIKE.__contains__)
# For tests of what has little to do with the family: one with a plain prompt, and one whose positions have three axes.
FEWER = by_default(without=lambda name: name not in {"llava_onevision", "qwen2_5_vl"}, mark=pytest.mark.every)
