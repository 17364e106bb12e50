"""The families as tests run over them: each with its tiny random model, and inputs as its processor returns them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature

import pytest
import torch
from transformers import DynamicCache, LlavaOnevisionForConditionalGeneration

from aim.bench.tiny_axes_models import (
    glm4v,
    glm4v_moe,
    glm46v,
    minicpmv4_6,
    qwen2_5_omni,
    qwen2_5_vl,
    qwen2_vl,
    qwen3_5,
    qwen3_5_moe,
    qwen3_omni_moe,
    qwen3_vl,
    qwen3_vl_moe,
)
from aim.bench.tiny_image_models import gemma3, gemma4, granite4_vision, llava, step3p7
from aim.bench.tiny_models import (
    IMAGE,
    PAD,
    VIDEO,
    exaone4_5,
    internvl,
    llava_next_video,
    llava_onevision,
    molmo2,
    perception_lm,
    smolvlm,
    video_llama_3,
)
from aim.bench.tiny_models import NEWLINE as NEWLINE
from aim.bench.tiny_models import TEXT as TEXT
from aim.bench.tiny_models import VISION as VISION
from aim.families import FAMILIES
from tests.tiny_inputs import (
    Part,
    gemma3_clip,
    gemma3_image,
    gemma4_clip,
    gemma4_image,
    glm_clip,
    granite_clip,
    granite_image,
    internvl_clip,
    internvl_image,
    llava_clip,
    llava_image,
    llava_next_video_clip,
    llava_next_video_image,
    llava_onevision_clip,
    llava_onevision_image,
    minicpm_clip,
    minicpm_image,
    molmo_clip,
    molmo_image,
    omni_clip,
    perception_image,
    qwen_clip,
    qwen_image,
    smolvlm_clip,
    smolvlm_image,
    step_clip,
    step_image,
    timed_clip,
    timed_words,
    video_llama_clip,
    video_llama_image,
    words,
)
from tests.tiny_inputs import gemma4_places as gemma4_places

takes_features = pytest.mark.skipif(
    "mm_encoder_outputs" not in signature(LlavaOnevisionForConditionalGeneration.forward).parameters,
    reason="transformers takes features of several clips, or of another length, since 5.18",
)


@dataclass(frozen=True)
class TinyFamily:
    """One family: `model(layers=6, seed=0, **text config)`, and inputs for it as its processor would return them.

    Attributes:
        per_frame: visual tokens of a frame of a clip, or of a step of `step` frames.
        separators: text tokens a clip brings by itself: (frames) → number.
        linear: the even layers of its LLM are linear attention, which caches no tokens.
        tiled: it shows every image in tiles too, whose patches the hooks on its tower do not report.
        windows: all layers of its LLM but every third have a window, which is longer than the prompts.
        packed: the pixels of all pictures stand in one row, their last axis.
        markers: text tokens that the model is told to belong to images.
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
    packed: bool = False
    markers: tuple[int, ...] = ()

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
        return self._prompt([words(before, generator), self.clip(frames, generator), words(after, generator)])

    def image_inputs(self, images=3, seed=0, before=3, after=6) -> dict[str, torch.Tensor]:
        """Several images, the first two side by side and text between the others, and a question, batch 1."""
        generator = torch.Generator().manual_seed(seed)
        parts = [words(before, generator), self.image(generator)]
        for number in range(1, images):
            parts += [words(2 * (number > 1), generator), self.image(generator)]
        return self._prompt([*parts, words(after, generator)])

    def batch_inputs(self, frames=4, seed=0, texts=((3, 6), (5, 11))) -> tuple[dict[str, torch.Tensor], list[dict[str, torch.Tensor]]]:
        """(a batch padded on the left, each of its prompts alone): a clip each, `texts` are the words before and after it."""
        alone = [self.video_inputs(frames, seed + number, *words) for number, words in enumerate(texts)]
        longest = max(inputs["input_ids"].shape[1] for inputs in alone)
        batch = {}
        for name in alone[0]:
            values = [inputs[name] for inputs in alone]
            if name in ("input_ids", "attention_mask", "mm_token_type_ids", "token_type_ids"):
                values = [torch.nn.functional.pad(value, (longest - value.shape[1], 0), value=PAD) for value in values]
            batch[name] = self.joined(name, values)
        return batch, alone

    def joined(self, name: str, values: list[torch.Tensor]) -> torch.Tensor:
        """One input of several pictures. Numbers of patches go on from picture to picture; -1 is none."""
        if name.endswith("token_pooling"):
            firsts = [sum(int(value.max()) + 1 for value in values[:number]) for number in range(len(values))]
            values = [torch.where(value < 0, value, value + first) for value, first in zip(values, firsts, strict=True)]
        return torch.cat(values, self.axis(name))

    def told_types(self, ids: torch.Tensor) -> torch.Tensor:
        """What the model is told of tokens: 1 for images, 2 for videos, 0 for text."""
        images = (ids == IMAGE) | torch.isin(ids, torch.tensor(self.markers, dtype=torch.long))
        return images.int() + 2 * (ids == VIDEO).int()

    def axis(self, name: str) -> int:
        """The axis along which an input has its pictures."""
        return -1 if self.packed and name.startswith("pixel") else 0

    def _prompt(self, parts: list[Part]) -> dict[str, torch.Tensor]:
        ids = torch.tensor([[token for part, _ in parts for token in part]])
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        names = dict.fromkeys(name for _, further in parts for name in further)
        for name in names:
            inputs[name] = self.joined(name, [further[name] for _, further in parts if name in further])
        if self.token_types:
            inputs[self.token_types] = self.told_types(ids)
        if self.counts_images and "image_sizes" in inputs:
            inputs["batch_num_images"] = torch.tensor([len(inputs["image_sizes"])])
        return inputs


TINY: dict[str, TinyFamily] = {
    "llava_onevision": TinyFamily(llava_onevision, llava_onevision_clip, llava_onevision_image, 25, lambda frames: 1, counts_images=True),
    "llava": TinyFamily(llava, llava_clip, llava_image, 25, lambda frames: frames),
    "llava_next_video": TinyFamily(llava_next_video, llava_next_video_clip, llava_next_video_image, 25, lambda frames: 0, tiled=True),
    "qwen2_vl": TinyFamily(qwen2_vl, qwen_clip, qwen_image, 35, lambda frames: 2, step=2, token_types="mm_token_type_ids"),
    "qwen2_5_vl": TinyFamily(qwen2_5_vl, qwen_clip, qwen_image, 35, lambda frames: 2, step=2, token_types="mm_token_type_ids"),
    "qwen3_vl": TinyFamily(qwen3_vl, timed_clip, qwen_image, 35, timed_words, step=2, token_types="mm_token_type_ids"),
    "qwen3_vl_moe": TinyFamily(qwen3_vl_moe, timed_clip, qwen_image, 35, timed_words, step=2, token_types="mm_token_type_ids"),
    "qwen3_5": TinyFamily(qwen3_5, timed_clip, qwen_image, 35, timed_words, step=2, token_types="mm_token_type_ids", linear=True),
    "qwen3_5_moe": TinyFamily(qwen3_5_moe, timed_clip, qwen_image, 35, timed_words, step=2, token_types="mm_token_type_ids", linear=True),
    "internvl": TinyFamily(internvl, internvl_clip, internvl_image, 25, lambda frames: 4 * frames),
    "smolvlm": TinyFamily(smolvlm, smolvlm_clip, smolvlm_image, 25, lambda frames: 5 * frames),
    "video_llama_3": TinyFamily(video_llama_3, video_llama_clip, video_llama_image, 35, lambda frames: 2 * frames),
    "gemma3": TinyFamily(gemma3, gemma3_clip, gemma3_image, 25, lambda frames: 3 * frames, token_types="token_type_ids", windows=True),
    "gemma4": TinyFamily(gemma4, gemma4_clip, gemma4_image, 25, lambda frames: 4 * frames, token_types="mm_token_type_ids", windows=True),
    "glm4v": TinyFamily(glm4v, glm_clip, qwen_image, 35, lambda frames: 2 + 3 * -(-frames // 2), step=2, token_types="mm_token_type_ids"),
    "glm4v_moe": TinyFamily(
        glm4v_moe, glm_clip, qwen_image, 35, lambda frames: 2 + 3 * -(-frames // 2), step=2, token_types="mm_token_type_ids"
    ),
    "glm46v": TinyFamily(glm46v, glm_clip, qwen_image, 35, lambda frames: 2 + 3 * -(-frames // 2), step=2, token_types="mm_token_type_ids"),
    "exaone4_5": TinyFamily(exaone4_5, qwen_clip, qwen_image, 35, lambda frames: 2, step=2, windows=True),
    "minicpmv4_6": TinyFamily(minicpmv4_6, minicpm_clip, minicpm_image, 35, lambda frames: 1 + 2 * frames, linear=True, packed=True),
    "molmo2": TinyFamily(
        molmo2, molmo_clip, molmo_image, 25, lambda frames: 3 * frames, token_types="mm_token_type_ids", markers=(91, 92, 93, 95, 96)
    ),
    "qwen2_5_omni_thinker": TinyFamily(qwen2_5_omni, omni_clip, qwen_image, 35, lambda frames: 2, step=2),
    "qwen3_omni_moe_thinker": TinyFamily(qwen3_omni_moe, omni_clip, qwen_image, 35, lambda frames: 2, step=2),
    "perception_lm": TinyFamily(perception_lm, llava_next_video_clip, perception_image, 25, lambda frames: 0),
    "granite4_vision": TinyFamily(granite4_vision, granite_clip, granite_image, 25, lambda frames: 2 * frames),
    "step3p7": TinyFamily(step3p7, step_clip, step_image, 25, lambda frames: 2 * frames, windows=True),
}
TINY = {name: family for name, family in TINY.items() if name in FAMILIES}  # this release of transformers may be too old for some
# Those whose pictures keep their shape, in tokens of 8 x 8 pixels, and those whose positions have three axes.
ANY_SIZE = {name for name, family in TINY.items() if family.per_frame == 35}
AXES = {name for name in TINY if name.startswith(("qwen", "glm"))}


def clip_inputs(frames=4, seed=0, before=3, after=6):
    """One clip and a question for `llava_onevision`: ids [1, n], mask, pixel values [1, F, 3, 40, 40]."""
    return TINY["llava_onevision"].video_inputs(frames, seed, before, after)


def pictures_of(inputs: dict) -> dict:
    """What of a prompt's inputs its pictures are."""
    kinds = ("pixel", "target_sizes", "video_grid", "video_merge", "video_position", "video_token", "num_frames")
    kinds += ("image_grid", "image_merge", "image_sizes", "image_token")
    return {name: value for name, value in inputs.items() if name.startswith(kinds)}


def tokens_of(made):
    """The features of a model's pictures; where they come in levels by LLM layer, those of all levels side by side."""
    if made.pooler_output is not None:
        return made.pooler_output
    return [torch.cat(levels, dim=-1) for levels in zip(*(level for _, level in made.deepstack_features), strict=True)]


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


# Those whose stock models give the logits of every token, whatever they are asked for.
KEEPS_EVERY_LOGIT = {"video_llama_3", "qwen2_5_omni_thinker", "qwen3_omni_moe_thinker", "minicpmv4_6"}
# Those whose stock models keep no cache in a forward but one that they are given.
MAKES_NO_CACHE = {"granite4_vision"}


def own_cache(model) -> dict:
    """The argument of a first forward by which a model keeps a cache, where it makes none by itself."""
    return {"past_key_values": DynamicCache(config=model.config.text_config)} if model.config.model_type in MAKES_NO_CACHE else {}


# Families that differ from another one in little, or of which a file of their own looks at what differs by default (Gemma, VideoLLaMA3).
ALIKE = {"llava", "llava_next_video", "qwen2_vl", "qwen3_vl_moe", "qwen3_5_moe", "gemma3", "gemma4", "glm4v", "glm46v", "video_llama_3"}
ALIKE |= {"glm4v_moe", "qwen2_5_omni_thinker", "qwen3_omni_moe_thinker", "exaone4_5", "minicpmv4_6", "molmo2", "perception_lm", "step3p7"}
ALIKE |= {"granite4_vision"}
EACH = by_default(without=ALIKE.__contains__)
# Each of these is another family with other weights or another processor. test_matrix.py and test_families_runtime.py have them in CI.
VARIANTS = {"llava", "llava_next_video", "qwen2_vl", "qwen3_vl_moe", "qwen3_5_moe", "glm4v_moe", "glm46v"}
FAR_APART = [pytest.param(*one.values, marks=pytest.mark.every) if one.values[0] in VARIANTS else one for one in EACH]
# For tests of what has little to do with the family: one with a plain prompt, and one whose positions have three axes.
FEWER = by_default(without=lambda name: name not in {"llava_onevision", "qwen2_5_vl"}, mark=pytest.mark.every)
