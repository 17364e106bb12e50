"""Every reason a checkpoint may not load for is told in one line of its own, without a path; other exceptions stay what they are."""

import importlib.util
import json
import shutil

import httpx2
import numpy as np
import pytest
import torch
from huggingface_hub import errors as hub

import aim
from aim.families.names import BUNDLED
from aim.kernels.refusal import Refusal
from aim.runtime import checkpoint_files, checkpoints
from aim.runtime.failure import shown_name
from aim.runtime.other_formats import unquantised
from aim.ui.host import load_model
from tests.runtime.broken_checkpoints import BROKEN, INDEX, only, quantised, rewrite

NEEDED = {"AWQ": "gptqmodel", "GPTQ": "optimum", "bitsandbytes": "bitsandbytes"}
HUB_ID = "someone/some-model"


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(BUNDLED, tmp_path / "secret-folder" / "some-model")


@pytest.fixture
def empty(tmp_path):
    (tmp_path / "secret-folder" / "some-model").mkdir(parents=True)
    return tmp_path / "secret-folder" / "some-model"


def raising(error):
    """A function that raises `error`, whatever it is given."""

    def fail(*_arguments, **_options):
        raise error

    return fail


def refusal(name, path=None):
    """The sentence `aim.load` refuses `name` with."""
    with pytest.raises(Refusal) as caught:
        aim.load(str(name))
    said = str(caught.value)
    assert "\n" not in said and said.endswith(".") and "secret-folder" not in said and (path is None or str(path) not in said)
    return said


@pytest.mark.parametrize("case", BROKEN)
def test_the_reason_is_told(case, folder, tmp_path):
    if importlib.util.find_spec(NEEDED.get(case, "no_such_package")) is not None:
        pytest.skip(f"{NEEDED[case]} is installed here")
    change, words = BROKEN[case]
    change(folder)
    said = refusal(folder, tmp_path)
    assert [word for word in words if word not in said] == []


@pytest.mark.parametrize(
    ("name", "config", "repository"),
    [
        ("llava-onevision-qwen2-7b-ov", {"model_type": "llava_qwen"}, "llava-hf/llava-onevision-qwen2-7b-ov-hf"),
        ("llava-onevision-qwen2-72b-ov-chat", {"model_type": "llava_qwen"}, "llava-hf/llava-onevision-qwen2-72b-ov-chat-hf"),
        ("llava-v1.5-13b", {"model_type": "llava_llama"}, "llava-hf/llava-1.5-13b-hf"),
        ("llava-v1.5-7b", {"model_type": "llava", "mm_vision_tower": "openai/clip"}, "llava-hf/llava-1.5-7b-hf"),
        ("InternVL3-8B", {"model_type": "internvl_chat", "auto_map": {"AutoConfig": "x.X"}}, "OpenGVLab/InternVL3-8B-hf"),
        # Names that do not tell: by size.
        ("mine", {"model_type": "llava_qwen", "hidden_size": 896, "num_hidden_layers": 24}, "llava-hf/llava-onevision-qwen2-0.5b-ov-hf"),
        (
            "mine",
            {"model_type": "internvl_chat", "llm_config": {"hidden_size": 1536, "num_hidden_layers": 28}},
            "OpenGVLab/InternVL3-2B-hf",
        ),
        ("my-llava-onevision-qwen2-7b-tuned", {"model_type": "llava_qwen"}, "llava-hf/llava-onevision-qwen2-7b-ov-hf"),
        # Neither tells: by the rule.
        ("InternVL3-78B", {"model_type": "internvl_chat"}, "InternVL3-78B-hf"),
    ],
)
def test_another_format_is_told_with_the_repository_in_transformers_format(empty, name, config, repository):
    empty = empty.rename(empty.with_name(name))
    only(empty, config=config)
    said = refusal(empty)
    assert "another format" in said and f'"{repository}"' in said


def test_a_plain_llava_is_not_taken_for_the_other_format(empty):
    only(empty, config={"model_type": "llava"})
    assert "no safetensors" in refusal(empty)


@pytest.mark.parametrize(
    ("base", "shown"),
    [("Qwen/Qwen2.5-VL-3B-Instruct", '"Qwen/Qwen2.5-VL-3B-Instruct"'), ("/secret-folder/base", '"base"'), (None, "its base model")],
)
def test_an_adapter_is_to_be_merged_first(empty, base, shown):
    only(empty, adapter_config={"peft_type": "LORA", "base_model_name_or_path": base})
    said = refusal(empty)
    assert f"an adapter of {shown}" in said and "merge it first" in said and "merge_and_unload()" in said


def test_an_adapter_beside_whole_weights_is_refused_too_and_not_left_out(folder):
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "a/b"}')
    assert "merge it first" in refusal(folder)


@pytest.mark.parametrize("odd", [7, ["llava"], {"a": 1}, "", "two\nlines", "x" * 9000, "{f.name}"], ids=repr)
@pytest.mark.parametrize("entry", ["model_type", "text_config", "vision_config", "quantization_config", "llm_config", "auto_map"])
@pytest.mark.parametrize("kind", ["llava", "llava_qwen"])
def test_values_that_no_config_holds_end_in_a_sentence_too(empty, kind, entry, odd):
    only(empty, config={"model_type": kind, entry: odd})
    (empty / INDEX).write_text(json.dumps({"weight_map": {"a": odd}}))
    assert len(refusal(empty)) < 600


@pytest.mark.parametrize(("file", "words"), [("config.json", "is a file"), ("model.safetensors", "is a file"), ("x-Q4.GGUF", "GGUF")])
def test_a_file_is_no_folder(folder, file, words):
    (folder / file).touch()
    assert words in refusal(folder / file)


@pytest.mark.parametrize("name", ["", "/secret-folder/missing", "a/b/c", "two words", "-x"])
def test_what_is_neither_a_folder_nor_a_hub_id(name):
    assert "neither a folder on this machine nor a Hub id" in refusal(name)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct-AWQ", '"Qwen/Qwen2.5-VL-7B-Instruct"'),
        ("Qwen/Qwen2-VL-2B-Instruct-GPTQ-Int4", '"Qwen/Qwen2-VL-2B-Instruct"'),
        ("unsloth/Qwen2.5-VL-3B-Instruct-bnb-4bit", '"Qwen/Qwen2.5-VL-3B-Instruct"'),
        ("Qwen2.5-VL-7B-Instruct-Q4_K_M.gguf", '"Qwen/Qwen2.5-VL-7B-Instruct"'),
        ("someone/unknown-AWQ", "the repository that it was made from"),
    ],
)
def test_the_plain_repository_is_named(name, plain):
    assert unquantised(name) == plain


def answer(kind, status):
    """An exception of the Hub with its HTTP code."""
    request = httpx2.Request("GET", "https://huggingface.co/x")
    return kind("secret-folder", response=httpx2.Response(status, request=request))


HUB = {
    "gated": (answer(hub.GatedRepoError, 403), "gated repository"),
    "missing or private": (answer(hub.RepositoryNotFoundError, 401), "no repository of that name that it may read"),
    "disabled": (answer(hub.DisabledRepoError, 403), "was disabled"),
    "no token": (answer(hub.HfHubHTTPError, 401), "does not let this machine read"),
    "no permission": (answer(hub.HfHubHTTPError, 403), "does not let this machine read"),
    "too many requests": (answer(hub.HfHubHTTPError, 429), "error 429"),
    "Hub down": (answer(hub.HfHubHTTPError, 503), "error 503"),
    "no network": (httpx2.ConnectError("secret-folder"), "cannot be reached"),
    "slow network": (httpx2.ReadTimeout("secret-folder"), "cannot be reached"),
    "not cached": (hub.LocalEntryNotFoundError("secret-folder"), "cannot be reached"),
    "offline": (hub.OfflineModeIsEnabled("secret-folder"), "set to offline"),
}


@pytest.mark.parametrize("case", HUB)
@pytest.mark.parametrize("wrapped", [False, True], ids=["as it is", "as transformers wraps it"])
def test_what_the_hub_answers_is_told(case, wrapped, monkeypatch):
    error, words = HUB[case]

    def fail(*_arguments, **_options):
        if wrapped:
            raise OSError("We could not connect\nfrom secret-folder") from error
        raise error

    monkeypatch.setattr(checkpoints.AutoConfig, "from_pretrained", fail)
    monkeypatch.setattr("aim.runtime.failure.is_offline_mode", lambda: False)
    said = refusal(HUB_ID)
    assert words in said and f'"{HUB_ID}"' in said


def test_a_machine_that_is_offline_says_so():
    assert f'"{HUB_ID}" is not on this machine, which is set to offline' in refusal(HUB_ID)


@pytest.mark.parametrize("kept", [["config.json"], ["config.json", "tokenizer.json"]])
def test_a_part_in_the_cache_is_told_from_nothing(folder, kept, monkeypatch):
    for path in folder.iterdir():
        if path.name not in kept:
            path.unlink()
    monkeypatch.setattr(checkpoint_files, "try_to_load_from_cache", lambda _source, name: str(folder / name) if name in kept else None)

    monkeypatch.setattr(checkpoints.AutoConfig, "from_pretrained", raising(OSError("no file named model.safetensors")))
    assert f'Only a part of "{HUB_ID}" is on this machine' in refusal(HUB_ID)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["README.md", "adapter_config.json", "adapter_model.safetensors"], "merge it first"),
        (["README.md", "x-q4.gguf"], "llama.cpp (GGUF)"),
        (["README.md"], f'repository "{HUB_ID}" holds no config.json'),
    ],
)
def test_what_a_repository_holds_is_asked_of_the_hub(names, words, monkeypatch):
    monkeypatch.setattr(checkpoints.AutoConfig, "from_pretrained", raising(ValueError("Unrecognized model")))
    monkeypatch.setattr("aim.runtime.failure.is_offline_mode", lambda: False)
    monkeypatch.setattr(checkpoint_files, "list_repo_files", lambda _source: names)
    assert words in refusal(HUB_ID)


def test_files_that_may_not_be_read(folder, monkeypatch):
    def fail(*_arguments, **_options):
        raise OSError("PermissionError at secret-folder") from PermissionError(13, "denied", "secret-folder")

    monkeypatch.setattr(checkpoints.AutoConfig, "from_pretrained", fail)
    assert "may not be read" in refusal(folder)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("secret-folder"),
        ValueError("zip() argument 2 is shorter"),
        KeyError("x"),
        torch.OutOfMemoryError("CUDA out of memory"),
        OSError(28, "No space left on device"),
        ModuleNotFoundError("No module named 'accelerate'", name="accelerate"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_other_exception_stays_what_it_is(folder, error, monkeypatch):
    monkeypatch.setattr(checkpoints.AutoModelForImageTextToText, "from_pretrained", raising(error))
    with pytest.raises(type(error)) as caught:
        aim.load(str(folder))
    assert caught.value is error


def test_whatever_happens_to_a_quantised_checkpoint_it_is_told_to_load_the_plain_one(folder, monkeypatch):
    quantised("fp8", weight_block_size=[128, 128])(folder)
    monkeypatch.setattr(
        checkpoints.AutoModelForImageTextToText, "from_pretrained", raising(NotImplementedError("no kernel for Float8_e4m3fn"))
    )
    said = refusal(folder)
    assert "is quantised (fp8), and transformers" in said and "could not load it here. Load the repository" in said


def test_a_class_that_is_no_text_is_not_looked_at(folder):
    rewrite(folder / "config.json", architectures=5)
    assert aim.load(str(folder), device="cpu").text_tokens("what?") > 0


@pytest.mark.parametrize("case", ["missing shards", "eager attention", "type that is not served", "no checkpoint"])
def test_the_app_answers_with_the_bundled_model_and_tells_the_reason(folder, case):
    change, words = BROKEN[case]
    change(folder)
    vlm, notice = load_model(str(folder))
    assert vlm.is_bundled and "some-model" in notice and "secret-folder" not in notice and "\n" not in notice
    assert all(word in notice for word in words)


def test_the_text_of_a_library_is_not_shown_in_the_app(folder, monkeypatch, caplog):
    monkeypatch.setattr(checkpoints.AutoModelForImageTextToText, "from_pretrained", raising(UnicodeError(f"cannot read {folder}")))
    vlm, notice = load_model(str(folder), loader=lambda name, **options: "bundled" if name == "bundled" else aim.load(name, **options))
    assert vlm == "bundled" and notice.endswith("The log of this server tells why.") and "secret-folder" not in notice
    assert "UnicodeError" in caplog.text and "secret-folder" not in caplog.text


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("owner/model", "owner/model"),
        ("bundled", "bundled"),
        ("/a/b/model", "model"),
        ("./b/model/", "model"),
        ("../model", "model"),
        ("", ""),
    ],
)
def test_a_name_is_shown_without_its_path(name, shown, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shown_name(name) == shown


def test_of_a_relative_folder_only_the_last_part_is_shown(tmp_path, monkeypatch):
    (tmp_path / "secret" / "model").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert shown_name("secret/model") == "model"


def test_answers_end_at_the_tokenizers_end_token_where_the_generation_settings_name_none(folder):
    clip, question = aim.clip_from_frames(np.zeros((2, 32, 32, 3), dtype=np.uint8), 1.0), "what?"
    expected = aim.load("bundled", device="cpu").ask(clip, question, max_new_tokens=4)
    (folder / "generation_config.json").write_text('{"num_beams": 3}')
    said = aim.load(str(folder), device="cpu").ask(clip, question, max_new_tokens=4)
    assert (said.text, said.new_tokens) == (expected.text, expected.new_tokens) and said.new_tokens < 4
