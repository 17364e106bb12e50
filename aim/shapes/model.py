"""The bundled model's architecture and tokenizer: LLaVA-OneVision's own classes, a few million parameters.

Sizes: SigLIP tower 4 layers of 128 on 112-pixel frames (14 x 14 patches, pooled to 7 x 7 tokens), Qwen2 with 12 layers of 160.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import (
    GenerationConfig,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SiglipVisionConfig,
)

from aim.shapes.questions import WORDS_OF_ANSWERS
from aim.shapes.wordings import OPENINGS, TEMPLATES

IMAGE_SIZE, PATCH_SIZE = 112, 8
MAX_POSITIONS = 4096
GRID = IMAGE_SIZE // PATCH_SIZE // 2
TOKENS_PER_FRAME = GRID * GRID
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
SPECIAL = ("<pad>", "<unk>", "<|im_start|>", "<|im_end|>", "<image>", "<video>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }} {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image> {% elif part['type'] == 'video' %}<video> {% endif %}{% endfor %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
)


def vocabulary() -> list[str]:
    """Special tokens first, then every word of the questions and answers, sorted."""
    texts = [text for wordings in TEMPLATES.values() for text in wordings]
    texts = [re.sub(r"\{\w+\}", "", text) for text in texts] + [*OPENINGS, *WORDS_OF_ANSWERS]
    words = set(re.findall(r"\w+|[^\w\s]", " ".join(texts)))
    return [*SPECIAL, *sorted(words | {"user", "assistant", "system", "an", "nothing", "object", ".", ",", "!"})]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, lower case; a word it does not know becomes <unk>."""
    words = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary())}, unk_token="<unk>"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<|im_end|>",
        extra_special_tokens=list(SPECIAL[2:]),
        model_max_length=MAX_POSITIONS,
        padding_side="left",
        chat_template=CHAT_TEMPLATE,
    )


def build_model() -> LlavaOnevisionForConditionalGeneration:
    """The untrained model, float32."""
    token = {word: i for i, word in enumerate(vocabulary())}
    vision = SiglipVisionConfig(  # type: ignore[call-arg]  # a config also takes attributes that its class does not declare
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=PATCH_SIZE,
        vision_use_head=False,
        # Features after the tower's last norm; stock SigLIP gives LLaVA-OneVision those before it, which are harder to learn from.
        tie_last_hidden_states=True,
    )
    text = Qwen2Config(  # type: ignore[call-arg]  # as above
        vocab_size=len(token),
        hidden_size=160,
        intermediate_size=384,
        num_hidden_layers=12,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=MAX_POSITIONS,
        tie_word_embeddings=True,
        initializer_range=0.05,
        pad_token_id=token["<pad>"],
        bos_token_id=token["<|im_start|>"],
        eos_token_id=token["<|im_end|>"],
    )
    side = IMAGE_SIZE
    config = LlavaOnevisionConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=token["<image>"],
        video_token_index=token["<video>"],
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        image_grid_pinpoints=[[side, side], [side, 2 * side], [2 * side, side], [2 * side, 2 * side]],
        tie_word_embeddings=True,
    )
    return LlavaOnevisionForConditionalGeneration(config)


def save(model: LlavaOnevisionForConditionalGeneration, folder: str | Path) -> None:
    """Write a checkpoint folder as a published one has it: float16 safetensors, configs, tokenizer, processor settings."""
    folder = Path(folder)
    token = {word: i for i, word in enumerate(vocabulary())}
    half = build_model()
    half.load_state_dict(model.state_dict())
    half.half().save_pretrained(folder)
    GenerationConfig(
        pad_token_id=token["<pad>"], bos_token_id=token["<|im_start|>"], eos_token_id=token["<|im_end|>"], do_sample=False
    ).save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    pictures = {
        "do_resize": True,
        "do_rescale": True,
        "do_normalize": True,
        "do_convert_rgb": True,
        "image_mean": list(MEAN),
        "image_std": list(STD),
        "resample": 3,
        "rescale_factor": 1 / 255,
        "size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
    }
    settings = {
        "processor_class": "LlavaOnevisionProcessor",
        "image_token": "<image>",
        "video_token": "<video>",
        "num_image_tokens": (IMAGE_SIZE // PATCH_SIZE) ** 2,
        "vision_aspect_ratio": "anyres_max_9",
        "vision_feature_select_strategy": "full",
        "image_processor": {**pictures, "image_processor_type": "LlavaOnevisionImageProcessor"},
        "video_processor": {**pictures, "video_processor_type": "LlavaOnevisionVideoProcessor", "do_sample_frames": False},
    }
    (folder / "processor_config.json").write_text(json.dumps(settings, indent=2) + "\n")
