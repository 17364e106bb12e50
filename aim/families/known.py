"""Shapes of published models by name, so that a plan needs neither weights nor the network.

As their authors state them; what counts for a loaded checkpoint is its own config.json. The tokens of a frame are those of 640 x 360
pixels, where they depend on its size.
"""

from __future__ import annotations

from dataclasses import dataclass

from aim.kernels.cost import ModelShape, VisionShape


@dataclass(frozen=True)
class Known:
    """A model's shapes and the visual tokens of one video frame, or of the `frames_joined` frames that it takes together."""

    shape: ModelShape
    vision: VisionShape
    tokens_per_frame: int
    frames_joined: int = 1


def _llm(layers: int, hidden: int, intermediate: int, heads: int, key_value_heads: int, vocabulary: int) -> ModelShape:
    return ModelShape(layers, hidden, intermediate, heads, key_value_heads, hidden // heads, vocabulary)


def _llava_onevision(llm: ModelShape) -> Known:
    """A Qwen2 behind 26 layers of SigLIP so400m at 384 pixels, whose 27 x 27 patches are pooled to 14 x 14."""
    vision = VisionShape(26, 1152, 4304, patches_per_frame=27 * 27, patch_pixels=3 * 14 * 14, projector_size=llm.hidden_size)
    return Known(llm, vision, tokens_per_frame=14 * 14)


def _llava(llm: ModelShape) -> Known:
    """A Vicuna behind 24 layers of CLIP-L at 336 pixels; a frame of a clip is an image."""
    vision = VisionShape(24, 1024, 4096, 24 * 24, 3 * 14 * 14, projector_size=llm.hidden_size, other_tokens=1)
    return Known(llm, vision, tokens_per_frame=24 * 24)


def _qwen2_vl(llm: ModelShape) -> Known:
    """640 x 360 pixels become 644 x 364, two frames of which are 26 x 46 patches and 13 x 23 tokens."""
    vision = VisionShape(32, 1280, 5120, 26 * 46, 3 * 2 * 14 * 14, llm.hidden_size, projector_patches=4, projector_middle=5120)
    return Known(llm, vision, tokens_per_frame=13 * 23, frames_joined=2)


def _qwen2_5_vl(llm: ModelShape) -> Known:
    """As Qwen2-VL, with gated MLPs of 3,420, and attention within windows of 4 x 4 tokens in 28 of the tower's 32 layers."""
    windows = 4**2 * (3 * 4**2 + 1) * (5 * 4**2 + 3**2)
    pairs = 4 * (26 * 46) ** 2 + 28 * windows
    vision = VisionShape(32, 1280, 5130, 26 * 46, 3 * 2 * 14 * 14, llm.hidden_size, 4, 5120, attention_pairs=pairs)
    return Known(llm, vision, tokens_per_frame=13 * 23, frames_joined=2)


def _internvl3(llm: ModelShape) -> Known:
    """A Qwen2.5 behind 24 layers of InternViT-300M at 448 pixels, whose 32 x 32 patches are 16 x 16 tokens."""
    vision = VisionShape(24, 1024, 4096, 32 * 32, 3 * 14 * 14, llm.hidden_size, projector_patches=4, other_tokens=1)
    return Known(llm, vision, tokens_per_frame=16 * 16)


KNOWN: dict[str, Known] = {
    "llava-onevision-qwen2-0.5b": _llava_onevision(_llm(24, 896, 4864, 14, 2, 152000)),
    "llava-onevision-qwen2-7b": _llava_onevision(_llm(28, 3584, 18944, 28, 4, 152128)),
    "llava-onevision-qwen2-72b": _llava_onevision(_llm(80, 8192, 29568, 64, 8, 152128)),
    "llava-1.5-7b": _llava(_llm(32, 4096, 11008, 32, 32, 32064)),
    "llava-1.5-13b": _llava(_llm(40, 5120, 13824, 40, 40, 32064)),
    "qwen2-vl-2b": _qwen2_vl(_llm(28, 1536, 8960, 12, 2, 151936)),
    "qwen2-vl-7b": _qwen2_vl(_llm(28, 3584, 18944, 28, 4, 152064)),
    "qwen2.5-vl-3b": _qwen2_5_vl(_llm(36, 2048, 11008, 16, 2, 151936)),
    "qwen2.5-vl-7b": _qwen2_5_vl(_llm(28, 3584, 18944, 28, 4, 152064)),
    "internvl3-1b": _internvl3(_llm(24, 896, 4864, 14, 2, 151674)),
    "internvl3-2b": _internvl3(_llm(28, 1536, 8960, 12, 2, 151674)),
    "internvl3-8b": _internvl3(_llm(28, 3584, 18944, 28, 4, 151674)),
}
# name → its transformers checkpoint on the Hub.
HUB_IDS: dict[str, str] = {
    "llava-onevision-qwen2-0.5b": "llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
    "llava-onevision-qwen2-7b": "llava-hf/llava-onevision-qwen2-7b-ov-hf",
    "llava-onevision-qwen2-72b": "llava-hf/llava-onevision-qwen2-72b-ov-hf",
    "llava-1.5-7b": "llava-hf/llava-1.5-7b-hf",
    "llava-1.5-13b": "llava-hf/llava-1.5-13b-hf",
    "qwen2-vl-2b": "Qwen/Qwen2-VL-2B-Instruct",
    "qwen2-vl-7b": "Qwen/Qwen2-VL-7B-Instruct",
    "qwen2.5-vl-3b": "Qwen/Qwen2.5-VL-3B-Instruct",
    "qwen2.5-vl-7b": "Qwen/Qwen2.5-VL-7B-Instruct",
    "internvl3-1b": "OpenGVLab/InternVL3-1B-hf",
    "internvl3-2b": "OpenGVLab/InternVL3-2B-hf",
    "internvl3-8b": "OpenGVLab/InternVL3-8B-hf",
}
_OWNERS, _SUFFIXES = ("llava-hf/", "qwen/", "opengvlab/"), ("-ov-hf", "-ov-chat-hf", "-si-hf", "-instruct", "-hf")


def find_known(model: str) -> Known | None:
    """The entry of a name or Hub id."""
    name = str(model).lower()
    for owner in _OWNERS:
        name = name.removeprefix(owner)
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return KNOWN.get(name)
