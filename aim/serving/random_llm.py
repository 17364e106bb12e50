"""`python -m aim.serving.random_llm FOLDER`: a checkpoint to load a server with, whose LLM is larger than the bundled model's.

It has the bundled model's tokenizer, pictures and tower, and random weights. No special token is ever the likeliest, so every answer is as
long as the request allows, and the times of several ratios can be compared.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration, Qwen2Config

from aim.families.names import BUNDLED
from aim.kernels.bounds import FROM_1
from aim.kernels.refusal import Refusal

HEAD = 64
FILES = ("tokenizer.json", "tokenizer_config.json", "processor_config.json", "chat_template.jinja")


def write(folder: Path, layers: int = 12, width: int = 512, seed: int = 0) -> None:
    """Write the checkpoint.

    Args:
        folder: an existing one's files are replaced.
        layers: of the LLM, ≥ 1.
        width: of its hidden states, a multiple of 128. A head has 64 of them, and two heads share keys and values.

    Raises:
        Refusal: layers or width is not one of these.
    """
    FROM_1.check("layers", layers, "An LLM has at least one.")
    if width < 2 * HEAD or width % (2 * HEAD):
        raise Refusal(f"width is {width}; accepted: a multiple of {2 * HEAD}. Use 512, for example.")
    config = LlavaOnevisionConfig.from_pretrained(BUNDLED)
    text = config.text_config.to_dict()
    sizes = {"hidden_size": width, "intermediate_size": 3 * width, "head_dim": HEAD, "num_hidden_layers": layers}
    heads = {"num_attention_heads": width // HEAD, "num_key_value_heads": width // HEAD // 2, "layer_types": ["full_attention"] * layers}
    config.text_config = Qwen2Config(**{**text, **sizes, **heads, "tie_word_embeddings": False})
    config.tie_word_embeddings = False
    config.dtype = "float32"
    torch.manual_seed(seed)
    model = LlavaOnevisionForConditionalGeneration(config)
    with torch.no_grad():
        model.lm_head.weight[: config.video_token_id + 1] = 0  # the special tokens come first
    model.save_pretrained(folder)
    for file in FILES:
        shutil.copy(BUNDLED / file, folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m aim.serving.random_llm", description="Write a checkpoint to load a server with.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=12, help="of the LLM (default: %(default)s)")
    parser.add_argument("--width", type=int, default=512, help="of its hidden states (default: %(default)s)")
    options = parser.parse_args()
    try:
        write(options.folder, options.layers, options.width)
    except Refusal as refused:
        parser.exit(2, f"aim: {refused}\n")
