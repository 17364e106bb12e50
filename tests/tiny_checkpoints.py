"""Checkpoints of the tiny models as the Hub has them: weights, a tokenizer of letters, a chat template and picture settings."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3_5Tokenizer

from tests.tiny import IMAGE, NEWLINE, PAD, TINY, VIDEO

LETTERS = " abcdefghijklmnopqrstuvwxyz0123456789:.?!<>/"
START, END = "<|im_start|>", "<|im_end|>"

# What the templates on the Hub say for a user's turn with one clip and one text, in short.
QWEN_TEMPLATE = (
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant."
    "<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
INTERNVL_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<IMG_CONTEXT>\n{% elif part['type'] == 'video' %}<video>\n{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAVA_TEMPLATE = (
    "{% for message in messages %}{{ message['role'].upper() }}: {% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<image>\n{% endif %}{% endfor %}{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }} {% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
NEXT_VIDEO_TEMPLATE = LLAVA_TEMPLATE.replace("<image>\n{% endif %}", "<image>\n{% elif part['type'] == 'video' %}<video>\n{% endif %}")
ONEVISION_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }} {% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<image>\n{% elif part['type'] == 'video' %}<video>\n{% endif %}{% endfor %}{% for part in message['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA3_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<start_of_image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)
GEMMA4_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "{{ '\n\n<|image|>\n\n' }}{% elif part['type'] == 'video' %}{{ '\n\n<|video|>\n\n' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)
SMOLVLM_TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}{% if message['content'][0]['type'] == 'image' %}:"
    "{% else %}: {% endif %}{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}"
    "{% elif line['type'] == 'image' %}<image>{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)
PERCEPTION_TEMPLATE = (
    "{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|image|>{% elif part['type'] == 'video' %}<|video|>{% endif %}{% endfor %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GRANITE_TEMPLATE = (
    "{% for message in messages %}<|start_of_role|>{{ message['role'] }}<|end_of_role|>{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% endif %}{% endfor %}{% for part in message['content'] %}{% if part['type'] == 'text' %}"
    "{{ part['text'] }}{% endif %}{% endfor %}<|end_of_text|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start_of_role|>assistant<|end_of_role|>{% endif %}"
)
STEP_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<im_patch>{% else %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
MOLMO_TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}{% if part['type'] == 'image' %}<|image|>"
    "{% elif part['type'] == 'video' %}<|video|>{% endif %}{% endfor %}<|im_start|>{{ message['role'] }}\n"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GLM_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|begin_of_image|><|image|><|end_of_image|>{% elif part['type'] == 'video' %}<|begin_of_video|><|video|><|end_of_video|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
GLM_MARKERS = {92: "<|begin_of_video|>", 93: "<|end_of_video|>", 95: "<|begin_of_image|>", 96: "<|end_of_image|>"}
GLM_MARKERS |= {90: "<|user|>", 91: "<|assistant|>", IMAGE: "<|image|>", VIDEO: "<|video|>"}
QWEN3_TEMPLATE = QWEN_TEMPLATE.replace(
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}", ""
)
THINKING_TEMPLATE = QWEN3_TEMPLATE.replace(
    "<|im_start|>assistant\n{% endif %}",
    "<|im_start|>assistant\n{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n"
    "{% else %}<think>\n{% endif %}{% endif %}",
)
EXAONE_TEMPLATE = THINKING_TEMPLATE.replace("<|vision_start|>", "<vision>").replace("<|vision_end|>", "</vision>")
QWEN_MARKERS = {95: "<|vision_start|>", 96: "<|vision_end|>", IMAGE: "<|image_pad|>", VIDEO: "<|video_pad|>"}
OMNI_TEMPLATE = QWEN_TEMPLATE.replace("<|vision_start|>", "<|vision_bos|>").replace("<|vision_end|>", "<|vision_eos|>")
OMNI_TEMPLATE = OMNI_TEMPLATE.replace("<|image_pad|>", "<|IMAGE|>").replace("<|video_pad|>", "<|VIDEO|>")
COMMON = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.3, 0.3, 0.2], "resample": 3, "rescale_factor": 1 / 255}
QWEN3_PICTURES = {**COMMON, "size": {"shortest_edge": 64, "longest_edge": 25165824}}
SQUARE = {**COMMON, "size": {"height": 40, "width": 40}}

# name: (template, special tokens by id, picture settings by file).
FOLDERS = {
    "llava_onevision": (ONEVISION_TEMPLATE, {IMAGE: "<image>", VIDEO: "<video>"}, {"video_preprocessor_config.json": SQUARE}),
    "llava": (
        LLAVA_TEMPLATE,
        {IMAGE: "<image>"},
        {"preprocessor_config.json": {**COMMON, "size": {"shortest_edge": 20}, "crop_size": {"height": 20, "width": 20}}},
    ),
    "llava_next_video": (
        NEXT_VIDEO_TEMPLATE,
        {IMAGE: "<image>", VIDEO: "<video>"},
        {"video_preprocessor_config.json": {**COMMON, "size": {"shortest_edge": 40}, "crop_size": {"height": 40, "width": 40}}},
    ),
    "qwen2_vl": (QWEN_TEMPLATE, QWEN_MARKERS, {"preprocessor_config.json": {**COMMON, "min_pixels": 64, "max_pixels": 12845056}}),
    "qwen2_5_vl": (QWEN_TEMPLATE, QWEN_MARKERS, {"preprocessor_config.json": {**COMMON, "min_pixels": 64, "max_pixels": 12845056}}),
    "qwen3_vl": (QWEN3_TEMPLATE, QWEN_MARKERS, {"video_preprocessor_config.json": QWEN3_PICTURES}),
    "qwen3_vl_moe": (QWEN3_TEMPLATE, QWEN_MARKERS, {"video_preprocessor_config.json": QWEN3_PICTURES}),
    "qwen3_5": (THINKING_TEMPLATE, QWEN_MARKERS, {"video_preprocessor_config.json": QWEN3_PICTURES}),
    "qwen3_5_moe": (THINKING_TEMPLATE, QWEN_MARKERS, {"video_preprocessor_config.json": QWEN3_PICTURES}),
    "minicpmv4_6": (
        THINKING_TEMPLATE.replace("<|vision_start|>", "").replace("<|vision_end|>", "\n"),
        {90: "<image_id>", 91: "</image_id>", 95: "<image>", 96: "</image>", IMAGE: "<|image_pad|>", VIDEO: "<|video_pad|>"},
        {"video_preprocessor_config.json": {**COMMON, "scale_resolution": 96}},
    ),
    "perception_lm": (
        PERCEPTION_TEMPLATE,
        {90: "<|start_header_id|>", 91: "<|end_header_id|>", 92: "<|eot_id|>", IMAGE: "<|image|>", VIDEO: "<|video|>"},
        {"video_preprocessor_config.json": SQUARE, "preprocessor_config.json": {**SQUARE, "tile_size": 40}},
    ),
    "exaone4_5": (
        EXAONE_TEMPLATE,
        {95: "<vision>", 96: "</vision>", IMAGE: "<|image_pad|>", VIDEO: "<|video_pad|>"},
        {"preprocessor_config.json": {**COMMON, "min_pixels": 64, "max_pixels": 12845056}},
    ),
    "qwen2_5_omni_thinker": (
        OMNI_TEMPLATE,
        {95: "<|vision_bos|>", 96: "<|vision_eos|>", IMAGE: "<|IMAGE|>", VIDEO: "<|VIDEO|>"},
        {"preprocessor_config.json": {**COMMON, "min_pixels": 64, "max_pixels": 12845056}},
    ),
    "qwen3_omni_moe_thinker": (
        QWEN3_TEMPLATE,
        QWEN_MARKERS,
        {"preprocessor_config.json": {**COMMON, "min_pixels": 64, "max_pixels": 12845056}},
    ),
    "internvl": (
        INTERNVL_TEMPLATE,
        {95: "<img>", 96: "</img>", IMAGE: "<IMG_CONTEXT>", VIDEO: "<video>"},
        {"preprocessor_config.json": SQUARE},
    ),
    "gemma3": (
        GEMMA3_TEMPLATE,
        {95: "<start_of_image>", 96: "<end_of_image>", IMAGE: "<image_soft_token>"},
        {"preprocessor_config.json": {**SQUARE, "resample": 2}},
    ),
    "gemma4": (
        GEMMA4_TEMPLATE,
        {95: "<|image>", 96: "<image|>", IMAGE: "<|image|>", VIDEO: "<|video|>"},
        {"processor_config.json": {"video_processor": {"max_soft_tokens": 70}, "image_processor": {"max_soft_tokens": 280}}},
    ),
    "granite4_vision": (
        GRANITE_TEMPLATE,
        {90: "<|start_of_role|>", 91: "<|end_of_role|>", 92: "<|end_of_text|>", IMAGE: "<image>"},
        {"preprocessor_config.json": {**SQUARE, "crop_size": {"height": 40, "width": 40}}},
    ),
    "step3p7": (
        STEP_TEMPLATE,
        {95: "<im_start>", 96: "<im_end>", IMAGE: "<im_patch>"},
        {"preprocessor_config.json": {**SQUARE, "resample": 2}},
    ),
    "molmo2": (
        MOLMO_TEMPLATE,
        {89: "<|image|>", 90: "<|video|>", 91: "<low_res_im_start>", 92: "<frame_start>", 93: "<frame_end>"}
        | {95: "<im_start>", 96: "<im_end>", IMAGE: "<im_patch>"},
        {"video_preprocessor_config.json": {**COMMON, "size": {"height": 60, "width": 60}, "resample": 2, "pooling_size": [3, 3]}},
    ),
    "glm4v": (GLM_TEMPLATE, GLM_MARKERS, {"video_preprocessor_config.json": QWEN3_PICTURES}),
    "glm4v_moe": (GLM_TEMPLATE, GLM_MARKERS, {"video_preprocessor_config.json": QWEN3_PICTURES}),
    "glm46v": (GLM_TEMPLATE, GLM_MARKERS, {"video_preprocessor_config.json": QWEN3_PICTURES}),
    "video_llama_3": (
        QWEN3_TEMPLATE.replace("<|vision_start|>", "").replace("<|vision_end|>", "\n"),
        {IMAGE: "<|image_pad|>", VIDEO: "<|video_pad|>"},
        {
            "video_preprocessor_config.json": {**QWEN3_PICTURES, "merge_size": 2},
            "preprocessor_config.json": {**COMMON, "size": {"shortest_edge": 64, "longest_edge": 25165824}, "merge_size": 1},
        },
    ),
    "smolvlm": (
        SMOLVLM_TEMPLATE,
        {95: "<fake_token_around_image>", 96: "<global-img>", IMAGE: "<image>"},
        {"preprocessor_config.json": {**COMMON, "size": {"longest_edge": 60}, "max_image_size": {"longest_edge": 40}}},
    ),
}


def build_tokenizer(special):
    """One token a letter, lower case."""
    ids = {PAD: "<pad>", 1: "<s>", 2: END, 3: START, NEWLINE: "\n"} | {4 + place: letter for place, letter in enumerate(LETTERS)} | special
    ids |= {number: f"<{number}>" for number in range(99) if number not in ids}
    letters = Tokenizer(models.WordLevel({token: number for number, token in ids.items()}, unk_token="<pad>"))
    letters.normalizer = normalizers.Lowercase()
    letters.pre_tokenizer = pre_tokenizers.Split(Regex("[\\s\\S]"), "isolated")
    named = [START, END, *special.values()]
    return PreTrainedTokenizerFast(tokenizer_object=letters, pad_token="<pad>", eos_token=END, extra_special_tokens=named)


def build_byte_tokenizer(special):
    """The same letters for the families whose tokenizer transformers takes for one of bytes, whatever the checkpoint says."""
    names = dict(build_tokenizer(special).get_vocab())
    vocabulary = {{" ": "\u0120", "\n": "\u010a"}.get(token, token): number for token, number in names.items()}
    named = [START, END, *special.values()]
    return Qwen3_5Tokenizer(vocab=vocabulary, merges=[], pad_token="<pad>", eos_token=END, unk_token="<pad>", extra_special_tokens=named)


BUILDERS = {"qwen3_5": build_byte_tokenizer, "qwen3_5_moe": build_byte_tokenizer}


def save_checkpoint(name: str, folder: Path, **text) -> str:
    """Write the tiny model of a family, a key of `TINY`, to a folder that `aim.load` takes; its path. `text` is for the LLM's config."""
    template, special, files = FOLDERS[name]
    TINY[name].model(**text).save_pretrained(folder)
    BUILDERS.get(name, build_tokenizer)(special).save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(template)
    for file, settings in files.items():
        (folder / file).write_text(json.dumps(settings))
    return str(folder)
