"""The shapes of the published models, written down by hand, and the numbers of parameters that their pages state."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aim.families import PUBLISHED
from aim.kernels.shape import Heads, LinearShape, ModelShape, VisionShape
from aim.planning.plan import PlannedModel


def llm(layers, hidden, intermediate, heads, key_value_heads, vocabulary):
    return ModelShape(layers, hidden, intermediate, heads, key_value_heads, hidden // heads, vocabulary)


def llava_onevision(shape):
    """27 x 27 patches of SigLIP so400m are pooled to 14 x 14."""
    return PlannedModel(shape, VisionShape(26, 1152, 4304, 27 * 27, 3 * 14 * 14, shape.hidden_size), 14 * 14)


def llava(shape):
    return PlannedModel(shape, VisionShape(24, 1024, 4096, 24 * 24, 3 * 14 * 14, shape.hidden_size, other_tokens=1), 24 * 24)


def llava_next_video(shape):
    """24 x 24 patches of CLIP-L are averaged to 12 x 12."""
    tower = VisionShape(24, 1024, 4096, 24 * 24, 3 * 14 * 14, shape.hidden_size, 4, other_tokens=1, projector_means=True)
    return PlannedModel(shape, tower, 12 * 12)


def qwen2_vl(shape):
    """640 x 360 pixels become 644 x 364, two frames of which are 26 x 46 patches and 13 x 23 tokens."""
    vision = VisionShape(32, 1280, 5120, 26 * 46, 3 * 2 * 14 * 14, shape.hidden_size, projector_patches=4, projector_middle=5120)
    return PlannedModel(shape, vision, 13 * 23, frames_joined=2)


def glm4v(shape):
    """640 x 360 pixels become 644 x 364. Gated MLPs of 4,096 count as half as wide again; the projector ends with a gated MLP."""
    vision = VisionShape(24, 1536, 6144, 26 * 46, 3 * 2 * 14 * 14, 4096, projector_patches=4, projector_further=3 * 4096 * 13696)
    return PlannedModel(shape, vision, 13 * 23, frames_joined=2)


def glm4v_moe(shape):
    """As GLM-4.1V with a narrower gated MLP behind the projector. The first layer has one MLP, each other 128 experts of 1,408, of which a
    token uses 8, and one for all."""
    tower = replace(glm4v(shape).vision, projector_further=3 * 4096 * 10944)
    language = replace(experts(shape, 128, 8, 1408), intermediate_size=9 * 1408, head_dim=128, dense_size=10944, dense_layers=(0,))
    return PlannedModel(language, tower, 13 * 23, frames_joined=2)


def video_llama_3(shape):
    """Of a clip of two frames, 640 x 360 pixels become 644 x 364, and the mean of 2 x 2 patches is one token."""
    tower = VisionShape(27, 1152, 4304, 26 * 46, 3 * 14 * 14, shape.hidden_size, 4, projector_means=True)
    return PlannedModel(shape, tower, 13 * 23)


def qwen2_5_vl(shape):
    """Gated MLPs of 3,420 count as half as wide again; 28 layers attend within windows of 4 x 4 tokens: 3 rows of 4 and one of 1 by 5
    columns of 4 and one of 3."""
    windows = (*[64, 64, 64, 64, 64, 48] * 3, 16, 16, 16, 16, 16, 12)
    layers = tuple(layer for layer in range(32) if layer % 8 != 7)
    vision = VisionShape(32, 1280, 5130, 26 * 46, 3 * 2 * 14 * 14, shape.hidden_size, 4, 5120, windows=windows, windowed_layers=layers)
    pairs = 4 * (26 * 46) ** 2 + 28 * 4**2 * (3 * 4**2 + 1) * (5 * 4**2 + 3**2)
    assert sum(queries * keys for queries, keys in (vision.lengths(layer, vision.parts) for layer in range(32))) == pytest.approx(pairs)
    return PlannedModel(shape, vision, 13 * 23, frames_joined=2)


def exaone4_5(shape):
    """As Qwen2.5-VL, with a quarter as many keys as queries; every fourth layer of the LLM has no window."""
    tower = qwen2_5_vl(shape).vision
    layers = tuple(layer for layer in range(28) if layer % 7 != 6)
    sizes = {"num_layers": 28, "hidden_size": 2048, "intermediate_size": 7680, "projector_middle": 8192, "keys_size": 512}
    windows = tuple(layer for layer in range(shape.num_layers) if layer % 4 != 3)
    language = replace(shape, window=4096, windowed_layers=windows)
    return PlannedModel(language, replace(tower, windowed_layers=layers, **sizes), 13 * 23, frames_joined=2)


def minicpm(shape):
    """640 x 360 pixels become 616 x 336, whose 24 x 44 patches are a quarter behind the seventh layer, and 6 x 11 tokens at the end."""
    linear = qwen3_5(shape, 12, 768, 3072, 16).shape
    narrowing = {"narrowed_by": 4, "narrowed_from": 7, "narrowing_size": 4 * 4304}
    return PlannedModel(linear, VisionShape(27, 1152, 4304, 24 * 44, 3 * 14 * 14, 1024, 4, 4608, **narrowing), 6 * 11)


def perception_lm(shape, *tower, **further):
    """32 x 32 patches, each through the projector, are averaged to 16 x 16 tokens."""
    return PlannedModel(shape, VisionShape(*tower, 32 * 32, 3 * 14 * 14, shape.hidden_size, **further), 16 * 16)


def granite4_vision(shape):
    """Of windows of 8 x 8 patches, 4 x 4 means ask one another, and then the patches. Eight projectors are each a layer of that, with two
    attentions and an MLP of 3,072, and a matrix; the first of its matrices on means counts by itself."""
    further = (4 + 2 + 2 * 4 - 1) * 1152**2 + 2 * 1152 * (16 + 64 + 3072)
    tower = VisionShape(27, 1152, 4304, 24 * 24, 3 * 16 * 16, 2560, 4, 1152, projectors=8, projector_means=True, projector_further=further)
    return PlannedModel(shape, tower, 12 * 12)


def step3p7(shape):
    """52 x 52 patches become 13 x 13 tokens by two convolutions of 3 x 3 with steps of 2, to 3,072 and 6,144 numbers, and a matrix.
    Three of four layers have 96 heads in place of 64, and each head a gate; the first three have no experts, the others one for all."""
    further = 9 * 3072 * 6144 + 4 * 9 * 1536 * 3072 - 16 * 1536 * 6144
    tower = VisionShape(47, 1536, 8960, 52 * 52, 3 * 14 * 14, 4096, 16, 6144, projector_further=further)
    windows = tuple(layer for layer in range(45) if layer % 4)
    others = {"other_heads": Heads(8, 128, num_heads=96), "other_layers": windows, "window": 512, "windowed_layers": windows}
    language = replace(experts(shape, 288, 8, 1280), intermediate_size=9 * 1280, head_dim=128, dense_size=11264, dense_layers=(0, 1, 2))
    return PlannedModel(replace(language, head_gate=True, **others), tower, 13 * 13)


def internvl3(shape):
    """32 x 32 patches of InternViT-300M are 16 x 16 tokens."""
    vision = VisionShape(24, 1024, 4096, 32 * 32, 3 * 14 * 14, shape.hidden_size, projector_patches=4, other_tokens=1)
    return PlannedModel(shape, vision, 16 * 16)


def internvl3_5(shape):
    """The same behind a Qwen3, whose heads have 128 numbers."""
    return internvl3(replace(shape, head_dim=128))


def molmo2(shape):
    """27 x 27 patches are pooled to 9 x 9 tokens: the mean of 3 x 3 patches of two layers asks these, and a gated MLP follows."""
    asking = 2304 * 1152 + 2 * 9 * 2304 * 1152 + 2 * 9 * 1152 + 1152**2
    further, middle = 1152 * shape.intermediate_size + asking, shape.intermediate_size
    tower = VisionShape(25, 1152, 4304, 27 * 27, 3 * 14 * 14, shape.hidden_size, 9, middle, projector_means=True, projector_further=further)
    return PlannedModel(replace(shape, head_dim=128), tower, 9 * 9)


def gemma3(shape, head_dim):
    """64 x 64 patches of SigLIP so400m are averaged to 16 x 16, and one matrix takes each mean."""
    tower = VisionShape(27, 1152, 4304, 64 * 64, 3 * 14 * 14, shape.hidden_size, 16, projector_means=True, projector_matrices=1)
    windows = tuple(layer for layer in range(shape.num_layers) if layer % 6 != 5)
    return PlannedModel(replace(shape, head_dim=head_dim, window=1024, windowed_layers=windows), tower, 16 * 16)


def gemma4(shape, wide_keys, **experts):
    """70 tokens a frame at most, 6 x 11 of 640 x 360 pixels, each the mean of 3 x 3 patches. A layer without a window has wider heads."""
    tower = VisionShape(27, 1152, 6456, 9 * 66, 3 * 16 * 16, shape.hidden_size, 9, projector_means=True, projector_matrices=1)
    windows = tuple(layer for layer in range(shape.num_layers) if layer % 6 != 5)
    heads = {"other_heads": Heads(wide_keys, 512, True), "other_layers": tuple(range(5, shape.num_layers, 6))}
    language = replace(shape, head_dim=256, window=1024, windowed_layers=windows, **heads, **experts)
    return PlannedModel(language, replace(tower, means_by_matrix=True), 66)


def smolvlm(shape, depth, hidden, intermediate, image, patch, joined):
    """Squares of `joined` x `joined` patches are one token, by one matrix."""
    side = image // patch
    tower = VisionShape(
        depth, hidden, intermediate, side**2, 3 * patch**2, shape.hidden_size, projector_patches=joined**2, projector_matrices=1
    )
    return PlannedModel(shape, tower, (side // joined) ** 2)


def experts(shape, number, used, size):
    """`used` of `number` experts of that size run for a token; a matrix of `number` outputs chooses them."""
    return replace(shape, intermediate_size=used * size, router=number, unused_size=(number - used) * size)


def qwen3_vl(shape, depth, hidden, intermediate):
    """640 x 360 pixels become 640 x 352, two frames of which are 22 x 40 patches and 11 x 20 tokens. Each of three levels of DeepStack has
    its projector. A head has 128 numbers, whatever the hidden size."""
    pixels = 3 * 2 * 16 * 16
    tower = VisionShape(depth, hidden, intermediate, 22 * 40, pixels, shape.hidden_size, 4, 4 * hidden, projectors=4)
    return PlannedModel(replace(shape, head_dim=128), tower, 11 * 20, frames_joined=2)


def qwen3_5(shape, depth, hidden, intermediate, value_heads):
    """The tower of Qwen3-VL without DeepStack. Three layers of linear attention stand before each that attends to keys, whose queries have
    a gate each."""
    tower = VisionShape(depth, hidden, intermediate, 22 * 40, 3 * 2 * 16 * 16, shape.hidden_size, 4, 4 * hidden)
    linear = LinearShape(key_heads=16, value_heads=value_heads, key_dim=128, value_dim=128, kernel=4)
    layers = tuple(layer for layer in range(shape.num_layers) if layer % 4 != 3)
    language = replace(shape, head_dim=256, gate=True, linear=linear, linear_layers=layers)
    return PlannedModel(language, tower, 11 * 20, frames_joined=2)


# Those for which this release of transformers may be too old.
YOUNG = {"exaone-4.5-33b", "minicpm-v-4.6", "perception-lm-1b", "perception-lm-3b", "perception-lm-8b", "qwen3-omni-30b-a3b"}
YOUNG |= {"molmo2-4b", "qwen2.5-omni-3b", "qwen2.5-omni-7b", "step-3.7-flash"}
# name → what is planned with, and the billions of parameters that its page on the Hub states.
STATED = {
    "llava-onevision-qwen2-0.5b": (llava_onevision(llm(24, 896, 4864, 14, 2, 152000)), 0.89),
    "llava-onevision-qwen2-7b": (llava_onevision(llm(28, 3584, 18944, 28, 4, 152128)), 8.03),
    "llava-onevision-qwen2-72b": (llava_onevision(llm(80, 8192, 29568, 64, 8, 152128)), 73.2),
    "llava-1.5-7b": (llava(llm(32, 4096, 11008, 32, 32, 32064)), 7.06),
    "llava-1.5-13b": (llava(llm(40, 5120, 13824, 40, 40, 32064)), 13.4),
    "llava-next-video-7b": (llava_next_video(llm(32, 4096, 11008, 32, 32, 32064)), 7.06),
    "qwen2-vl-2b": (qwen2_vl(llm(28, 1536, 8960, 12, 2, 151936)), 2.21),
    "qwen2-vl-7b": (qwen2_vl(llm(28, 3584, 18944, 28, 4, 152064)), 8.29),
    "qwen2.5-vl-3b": (qwen2_5_vl(llm(36, 2048, 11008, 16, 2, 151936)), 3.75),
    "qwen2.5-vl-7b": (qwen2_5_vl(llm(28, 3584, 18944, 28, 4, 152064)), 8.29),
    # The LLMs' 3.09, with an output head of its own, and 7.61; a tower of 0.675 and the encoder of Whisper large v3, 0.64, as the tech
    # report has them.
    "qwen2.5-omni-3b": (qwen2_5_vl(llm(36, 2048, 11008, 16, 2, 151936)), 3.09 + 151936e-9 * 2048 + 0.675 + 0.64),
    "qwen2.5-omni-7b": (qwen2_5_vl(llm(28, 3584, 18944, 28, 4, 152064)), 7.61 + 0.675 + 0.64),
    "qwen3-vl-2b": (qwen3_vl(llm(28, 2048, 6144, 16, 8, 151936), 24, 1024, 4096), 2.13),
    "qwen3-vl-4b": (qwen3_vl(llm(36, 2560, 9728, 32, 8, 151936), 24, 1024, 4096), 4.44),
    "qwen3-vl-8b": (qwen3_vl(llm(36, 4096, 12288, 32, 8, 151936), 27, 1152, 4304), 8.77),
    "qwen3-vl-32b": (qwen3_vl(llm(64, 5120, 25600, 64, 8, 151936), 27, 1152, 4304), 33.4),
    "qwen3-vl-30b-a3b": (qwen3_vl(experts(llm(48, 2048, 0, 32, 4, 151936), 128, 8, 768), 27, 1152, 4304), 31.1),
    "qwen3-vl-235b-a22b": (qwen3_vl(experts(llm(94, 4096, 0, 64, 4, 151936), 128, 8, 1536), 27, 1152, 4304), 236),
    # The tech report's parts: an LLM of 30.5, a tower of 0.54 and an encoder of sounds of 0.65.
    "qwen3-omni-30b-a3b": (qwen3_vl(experts(llm(48, 2048, 0, 32, 4, 152064), 128, 8, 768), 27, 1152, 4304), 31.7),
    "qwen3.5-0.8b": (qwen3_5(llm(24, 1024, 3584, 8, 2, 248320), 12, 768, 3072, 16), 0.873438784),
    "qwen3.5-2b": (qwen3_5(llm(24, 2048, 6144, 8, 2, 248320), 24, 1024, 4096, 16), 2.274069824),
    "qwen3.5-4b": (qwen3_5(llm(32, 2560, 9216, 16, 4, 248320), 24, 1024, 4096, 32), 4.659865088),
    "qwen3.5-9b": (qwen3_5(llm(32, 4096, 12288, 16, 4, 248320), 27, 1152, 4304, 32), 9.653104368),
    "qwen3.5-27b": (qwen3_5(llm(64, 5120, 17408, 24, 4, 248320), 27, 1152, 4304, 48), 27.781427952),
    "qwen3.5-35b-a3b": (
        qwen3_5(replace(experts(llm(40, 2048, 0, 16, 2, 248320), 256, 8, 512), intermediate_size=9 * 512, router=257), 27, 1152, 4304, 32),
        35.951822704,
    ),
    # EXAONE 4.0's 32.0 with 51,200 words more on both sides, and a tower whose file has 2.57 GB of float16.
    "exaone-4.5-33b": (exaone4_5(llm(64, 5120, 27392, 40, 8, 153600)), 32.0 + 2 * 51.2e-6 * 5120 + 2.574 / 2),
    # The text of Qwen3.5-0.8B, which has 0.752, and a tower whose file has 1.11 GB of bfloat16.
    "minicpm-v-4.6": (minicpm(llm(24, 1024, 3584, 8, 2, 248320)), 0.752 + 1.11 / 2),
    # Llama 3's 1.24, 3.21 and 8.03, and a Perception Encoder of 23 or 47 layers; written down by hand, as their pages were not at hand.
    "perception-lm-1b": (perception_lm(llm(16, 2048, 8192, 32, 8, 128256), 23, 1024, 4096, other_tokens=1), 1.236 + 0.298),
    "perception-lm-3b": (perception_lm(llm(28, 3072, 8192, 24, 8, 128256), 47, 1536, 8960), 3.213 + 1.755),
    "perception-lm-8b": (perception_lm(llm(32, 4096, 14336, 32, 8, 128256), 47, 1536, 8960), 8.03 + 1.763),
    # Its page states an LLM of 3.4, and 0.6 for tower and projectors.
    "granite-vision-4.1-4b": (granite4_vision(llm(40, 2560, 8192, 40, 8, 100353)), 4.0),
    # An LLM of 196 and a tower of 1.8, as its page states. The layers that guess ahead are not loaded.
    "step-3.7-flash": (step3p7(llm(45, 4096, 11264, 64, 8, 128896)), 198),
    "molmo2-4b": (molmo2(llm(36, 2560, 9728, 32, 8, 151936)), 4.8508692),  # as the index of its files states
    "internvl3-1b": (internvl3(llm(24, 896, 4864, 14, 2, 151674)), 0.938),
    "internvl3-2b": (internvl3(llm(28, 1536, 8960, 12, 2, 151674)), 2.09),
    "internvl3-8b": (internvl3(llm(28, 3584, 18944, 28, 4, 151674)), 7.94),
    "internvl3.5-1b": (internvl3_5(llm(28, 1024, 3072, 16, 8, 151936)), 1.06),
    "internvl3.5-2b": (internvl3_5(llm(28, 2048, 6144, 16, 8, 151936)), 2.35),
    "internvl3.5-4b": (internvl3_5(llm(36, 2560, 9728, 32, 8, 151936)), 4.73),
    "internvl3.5-8b": (internvl3_5(llm(36, 4096, 12288, 32, 8, 151936)), 8.53),
    "internvl3.5-14b": (internvl3_5(llm(40, 5120, 17408, 40, 8, 151936)), 15.1),
    "gemma-3-4b": (gemma3(llm(34, 2560, 10240, 8, 4, 262208), 256), 4.3),
    "gemma-3-12b": (gemma3(llm(48, 3840, 15360, 16, 8, 262208), 256), 12.2),
    "gemma-3-27b": (gemma3(llm(62, 5376, 21504, 32, 16, 262208), 128), 27.4),
    "gemma-4-31b": (gemma4(llm(60, 5376, 21504, 32, 16, 262144), 4), 31.3),  # 30.7, as its page states, and the tower
    "gemma-4-26b-a4b": (gemma4(llm(30, 2816, 2112 + 8 * 704, 16, 8, 262144), 2, router=128, unused_size=120 * 704), 25.8),
    "glm-4.1v-9b": (glm4v(llm(40, 4096, 13696, 32, 2, 151552)), 10.3),
    "glm-4.6v-flash": (glm4v(llm(40, 4096, 13696, 32, 2, 151552)), 10.3),
    # The files of GLM-4.5V hold 107.71. Both pages say 106, and GLM-4.6V is taken to be as large.
    "glm-4.5v": (glm4v_moe(llm(46, 4096, 10944, 96, 8, 151552)), 107.71092736),
    "glm-4.6v": (glm4v_moe(llm(46, 4096, 10944, 96, 8, 151552)), 107.71092736),
    "videollama3-2b": (video_llama_3(llm(28, 1536, 8960, 12, 2, 151936)), 1.96),  # 3.92 GB of bfloat16
    "smolvlm2-256m": (smolvlm(llm(30, 576, 1536, 9, 3, 49280), 12, 768, 3072, 512, 16, 4), 0.256),
    "smolvlm2-500m": (smolvlm(llm(32, 960, 2560, 15, 5, 49280), 12, 768, 3072, 512, 16, 4), 0.507),
    "smolvlm2-2.2b": (smolvlm(llm(24, 2048, 8192, 32, 32, 49280), 27, 1152, 4304, 384, 14, 3), 2.25),
}
STATED = {name: stated for name, stated in STATED.items() if name in PUBLISHED or name not in YOUNG}
