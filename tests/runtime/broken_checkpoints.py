"""Folders that people give for checkpoints and that cannot be loaded, each made from a copy of the bundled model."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"


def rewrite(path: Path, **entries) -> None:
    """Change entries of a JSON file; None takes one away."""
    content = json.loads(path.read_text()) | entries
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))


def only(folder: Path, **files: dict) -> None:
    """Leave nothing in the folder but these JSON files, named without their ending."""
    for path in folder.iterdir():
        path.unlink()
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


def without_shards(folder: Path) -> None:
    first = "model-00001-of-00002.safetensors"
    weights = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).rename(folder / first)
    (folder / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(weights, first) | {"more": "model-00002-of-00002.safetensors"}}))


def broken_off(folder: Path) -> None:
    """As `hf download --local-dir` leaves a folder when it is stopped."""
    downloads = folder / ".cache" / "huggingface" / "download"
    downloads.mkdir(parents=True)
    (folder / WEIGHTS).rename(downloads / "abc.incomplete")


def cut(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def pointer(folder: Path) -> None:
    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 7503888\n")


def without_a_layer(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    save_file({name: value for name, value in weights.items() if ".layers.3." not in name}, folder / WEIGHTS, {"format": "pt"})


def narrower(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    narrow = {name: value[:-1].contiguous() if name.endswith("model.norm.weight") else value for name, value in weights.items()}
    save_file(narrow, folder / WEIGHTS, {"format": "pt"})


def pickled(folder: Path) -> None:
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()


def gguf(folder: Path) -> None:
    only(folder)
    (folder / "Qwen2.5-VL-7B-Instruct-Q4_K_M.gguf").write_bytes(b"GGUF")


def in_need_of_eager(folder: Path) -> None:
    sizes = {"num_hidden_layers": 1, "hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1}
    rewrite(folder / "config.json", text_config={"model_type": "gpt_oss", **sizes, "num_local_experts": 2, "vocab_size": 99})


def quantised(method: str, **settings):
    def change(folder: Path) -> None:
        rewrite(folder / "config.json", quantization_config={"quant_method": method, **settings})

    return change


def with_config(**entries):
    return lambda folder: rewrite(folder / "config.json", **entries)


def with_text(**entries):
    def change(folder: Path) -> None:
        text = json.loads((folder / "config.json").read_text())["text_config"]
        rewrite(folder / "config.json", text_config=text | entries)

    return change


def with_null(entry: str):
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {entry: None}))

    return change


def garbled(file: str):
    return lambda folder: (folder / file).write_text('{"a": ')


def a_folder(file: str):
    def change(folder: Path) -> None:
        (folder / file).unlink(missing_ok=True)
        (folder / file).mkdir()

    return change


def holding(file: str, content: bytes):
    return lambda folder: (folder / file).write_bytes(content)


def without(file: str):
    return lambda folder: (folder / file).unlink()


# what was done to it → words of the sentence that it calls for.
BROKEN = {
    "no checkpoint": (only, ['folder "some-model" holds no config.json']),
    "config without a type": (with_config(model_type=None), ["names no model_type"]),
    "type that nobody knows": (with_config(model_type="unheard-of"), ['model type "unheard-of"', "does not know"]),
    "code of its own": (with_config(model_type="unheard-of", auto_map={"AutoConfig": "x.X"}), ["code of its own", '"-hf"']),
    "type that is not served": (with_config(model_type="mllama"), ["cross-attention layers", "supported are"]),
    "value of another type": (with_config(text_config={"model_type": "qwen2", "hidden_size": "x"}), ["holds a value"]),
    "no text model": (with_null("text_config"), ["holds a value that transformers"]),
    "no vision tower": (with_null("vision_config"), ["holds a value that transformers"]),
    "quantization that is a list": (with_config(quantization_config=["fp8"]), ["holds a value that transformers"]),
    "number type that nobody knows": (with_config(dtype="x"), ["holds a value that transformers"]),
    "rotary embedding that nobody knows": (with_text(rope_parameters={"rope_type": "x"}), ["holds a value that transformers"]),
    "rotary embedding without its factor": (with_text(rope_parameters={"rope_type": "yarn"}), ["holds a value that transformers"]),
    "activation that nobody knows": (with_text(hidden_act="x"), ["holds a value that transformers"]),
    "text model without heads": (with_text(num_attention_heads=0), ["holds a value that transformers"]),
    "garbled config": (garbled("config.json"), ["damaged: config.json"]),
    "garbled tokenizer": (garbled("tokenizer.json"), ["damaged: tokenizer.json"]),
    "garbled picture settings": (garbled("processor_config.json"), ["damaged: processor_config.json"]),
    "weights that are a folder": (a_folder(WEIGHTS), ["damaged: model.safetensors is a folder"]),
    "config that is a folder": (a_folder("config.json"), ["damaged: config.json is a folder"]),
    "tokenizer settings that are a folder": (a_folder("tokenizer_config.json"), ["damaged: tokenizer_config.json is a folder"]),
    "chat template in no Unicode": (holding("chat_template.jinja", b"\xff\xfe{{"), ["chat_template.jinja is no text in UTF-8"]),
    "generation settings in no Unicode": (holding("generation_config.json", b"\xff"), ["damaged: generation_config.json"]),
    "odd generation settings": (holding("generation_config.json", b'{"max_new_tokens": "x"}'), ["generation_config.json", "not accept"]),
    "odd end token": (holding("generation_config.json", b'{"eos_token_id": "x"}'), ["generation_config.json", "not accept"]),
    "type of another family": (with_config(model_type="llava"), ['type "llava"', "LlavaOnevisionForConditionalGeneration"]),
    "type of a family of other sizes": (with_config(model_type="internvl"), ['type "internvl"', "of another type"]),
    "picture settings without sizes": (holding("processor_config.json", b'{"video_processor": {"size": "x"}}'), ["picture settings that"]),
    "picture settings that are a number": (holding("processor_config.json", b'{"video_processor": 5}'), ["no picture settings"]),
    "no tokenizer": (without("tokenizer.json"), ["tokenizer of", "tokenizer.json"]),
    "no chat template": (without("chat_template.jinja"), ["no chat template"]),
    "no picture settings": (without("processor_config.json"), ["no picture settings"]),
    "missing shards": (without_shards, ["half a download", "Download it again"]),
    "download broken off": (broken_off, ["half a download", "Download it again"]),
    "weights cut off": (cut, ["cannot be read to the end", "Download it again"]),
    "pointer of Git LFS": (pointer, ["git lfs pull"]),
    "no weights": (without(WEIGHTS), ["no safetensors"]),
    "missing layer": (without_a_layer, ["some of its weights are missing", "Download it again"]),
    "other sizes": (narrower, ["other sizes than its config.json"]),
    "pickles": (pickled, ["pickles (pytorch_model.bin)", "no safetensors", "save_pretrained"]),
    "GGUF": (gguf, ["llama.cpp (GGUF)"]),
    "eager attention": (in_need_of_eager, ["text model (GptOssModel) needs eager attention"]),
    "AWQ": (quantised("awq", bits=4), ["(awq)", "pip install gptqmodel"]),
    "GPTQ": (quantised("gptq", bits=4), ["(gptq)", "pip install optimum"]),
    "bitsandbytes": (quantised("bitsandbytes", load_in_4bit=True), ["(bitsandbytes)", "pip install bitsandbytes"]),
}
