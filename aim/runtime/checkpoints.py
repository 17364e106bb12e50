"""From a name ("bundled", a local folder or a Hub id) to a model. Weights come from safetensors only, and no checkpoint's code runs."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
from transformers.utils import cached_file

from aim.families import Family, family_of, reduced_part
from aim.families.names import locate
from aim.kernels.bounds import Kind, check_choice, refusal
from aim.kernels.refusal import Refusal
from aim.runtime.checkpoint_files import CheckpointFiles
from aim.runtime.failure import ADAPTER, CONFIG, FAMILY, FILES, GENERATION, ODD_PICTURES, PICTURES, TEMPLATE, WEIGHTS, Unusable
from aim.runtime.last_norm import tie_last_hidden_states
from aim.runtime.limits import QUANTIZATIONS
from aim.runtime.loading_errors import told
from aim.runtime.precision import device_and_dtype

AUTO = "auto"
_SIDE = 64  # of the black frame that picture settings are tried on
NAME = Kind((str, Path), "a name, a folder or a Hub id", 'Use "bundled", for example.')


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint: the model in evaluation mode on its device, and what turns frames and words into its inputs.

    Attributes:
        name: the one it was loaded by.
        pictures: the settings by which the frames of a clip become pixel values, as in `video_preprocessor_config.json`.
        images: those of a single picture, as in `preprocessor_config.json`; empty where the checkpoint has one set for both.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    chat_template: str
    pictures: dict
    family: Family
    images: dict = field(default_factory=dict)

    def taking(self, is_image: bool) -> Checkpoint:
        """This checkpoint, or where `is_image` with the family and settings that take a single picture.

        Raises:
            Refusal: the family takes no pictures here.
        """
        return replace(self, family=self.family.taking(True), pictures=self.images or self.pictures) if is_image else self


def load_checkpoint(
    name: str, device: str | torch.device | None = None, dtype: torch.dtype | None = None, quantization: str | None = None
) -> Checkpoint:
    """Load a checkpoint of a supported family.

    Args:
        name: "bundled", a folder, or a Hub id such as "llava-hf/llava-onevision-qwen2-0.5b-ov-hf".
        device: by default CUDA where there is one, else the CPU. "auto" spreads the layers over all GPUs, and puts what does not fit there
            into the CPU's memory (the package accelerate's `device_map="auto"`).
        dtype: by default bfloat16 on CUDA, float16 on GPUs without bfloat16, else float32; see `aim.runtime.precision`.
        quantization: "8bit" or "4bit" quantises the LLM's matrices while loading, on CUDA with bitsandbytes. None leaves them as they are.

    Raises:
        Refusal: an argument is of another type, or this machine has no such device; nothing can be loaded under that name, for a reason of
            `aim.runtime.loading_errors`; the family is not supported; "auto" is asked for without accelerate; the quantization cannot be
            had here.
    """
    NAME.check("name", name)
    spread = isinstance(device, str) and device == AUTO
    if spread and importlib.util.find_spec("accelerate") is None:
        raise Refusal('device="auto" needs the package accelerate. Run `pip install accelerate`, or name one device such as "cuda:0".')
    placed: dict = {"device_map": AUTO} if spread else {}
    device, dtype = device_and_dtype(None if spread else device, dtype)
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError):  # what torch raises differs from device to device
        raise refusal("device", str(device), "a device that this machine has", "Leave it out for the default.") from None
    if quantization is not None:
        check_quantization(quantization, device)
    source = locate(name)
    # It is given in every call, because transformers would else ask at the terminal whether a checkpoint's code may run.
    safely = {"trust_remote_code": False}
    with told(source):
        if (Path(source) / "adapter_config.json").is_file():  # without peft, transformers would load the rest and leave the adapter out
            raise Unusable(ADAPTER)
        files = CheckpointFiles(source)
        if files.is_folder and (files.folder_for_file or files.damaged_text or files.damaged_json):
            raise Unusable(FILES)  # transformers would go on without some of them, such as the one that says where an answer ends
        if "generation_config.json" in files.here:
            try:
                GenerationConfig.from_pretrained(source)
            except (TypeError, ValueError):
                raise Unusable(GENERATION) from None
        config = reduced_part(AutoConfig.from_pretrained(source, **safely))
        written = CheckpointFiles(source).read("config.json")
        if not all(written.get(part, True) for part in ("text_config", "vision_config")):
            raise Unusable(CONFIG)  # transformers would make a model of its own sizes, which may be larger than this machine
    family = family_of(config)
    with told(source):
        if _is_of_another_type(config):
            raise Unusable(FAMILY)
    if quantization is not None:
        refuse_experts(quantization, config, family)
        # Quantised weights are made on their device and stay there. Others are moved.
        placed = {"device_map": {"": device}, **placed, "quantization_config": quantization_config(quantization, dtype, family)}
    with told(source):
        # With `output_loading_info` it gives a pair, which transformers' annotation leaves out.
        loading: Any = AutoModelForImageTextToText.from_pretrained(
            source,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            attn_implementation="sdpa",
            output_loading_info=True,
            **safely,
            **placed,
        )
        model, loaded = loading
        if getattr(model, "_hf_peft_config_loaded", False):  # a repository of the Hub with both
            raise Unusable(ADAPTER)
        if loaded["missing_keys"]:  # transformers would make them up
            raise Unusable(WEIGHTS)
        tokenizer = AutoTokenizer.from_pretrained(source, **safely)
        chat_template, pictures = _chat_template(source, tokenizer), _picture_settings(source, _CLIPS)
        images = _picture_settings(source, _IMAGES)
        if family.settings_in_code:
            pictures = pictures or family.picture_settings
        if not pictures:
            raise Unusable(PICTURES)
        _check_settings(model, family, pictures, tokenizer)
    model = (model if placed else model.to(device)).eval()
    tie_last_hidden_states(model)
    return Checkpoint(name, model, tokenizer, chat_template, pictures, family, images)


def _is_of_another_type(config: PretrainedConfig) -> bool:
    """Whether a config names the class of another model type than its own."""
    classes = getattr(config, "architectures", None)
    named = classes[0] if isinstance(classes, list) and classes else None
    types = [kind for kind, built in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.items() if built == named]
    return bool(types) and config.model_type not in types


def _check_settings(model: PreTrainedModel, family: Family, pictures: dict, tokenizer: PreTrainedTokenizerBase) -> None:
    """Try picture settings on a black frame, and look at the generation settings, which answers would stumble over.

    Where no end token is set, answers end at the tokenizer's.

    Raises:
        Unusable: they cannot be used.
    """
    generation: Any = model.generation_config
    try:
        generation.validate()
        ends = generation.eos_token_id
        if ends is None:
            generation.eos_token_id = tokenizer.eos_token_id
        elif not all(isinstance(end, int) for end in (ends if isinstance(ends, list) else [ends])):
            raise Unusable(GENERATION)
    except (TypeError, ValueError):
        raise Unusable(GENERATION) from None
    try:
        family.grid(model.config, pictures, 2, _SIDE, _SIDE)
        values = family.pixel_values(model.config, np.zeros((2, _SIDE, _SIDE, 3), dtype=np.uint8), pictures)
        if not all(value.isfinite().all() for value in values.values() if isinstance(value, torch.Tensor)):
            raise Unusable(ODD_PICTURES)
    except (TypeError, ValueError, LookupError, ArithmeticError, RuntimeError):
        raise Unusable(ODD_PICTURES) from None


def check_quantization(quantization: str, device: torch.device) -> None:
    """Refuse a quantization that cannot be had here, before anything is read.

    Raises:
        Refusal: the kind is unknown, the device is not CUDA, or bitsandbytes is not installed.
    """
    check_choice("quantization", quantization, QUANTIZATIONS, "Leave it out for whole weights.")
    if device.type != "cuda":
        raise Refusal(f"quantization={quantization!r} needs a CUDA device, and the model goes to {device}. Leave it out there.")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise Refusal(f"quantization={quantization!r} needs the package bitsandbytes. Run `pip install bitsandbytes`, or leave it out.")


def refuse_experts(quantization: str, config: PretrainedConfig, family: Family) -> None:
    """Refuse a model whose LLM has experts. bitsandbytes changes single matrices, and experts are one tensor for all of a layer.

    Raises:
        Refusal: it has.
    """
    if family.language_shape(config.text_config).unused_size:
        raise Refusal(
            f"quantization={quantization!r} would leave most of this model whole: its LLM has experts ({family.title}), which bitsandbytes "
            "does not change. Leave it out, or choose a checkpoint without experts."
        )


def quantization_config(quantization: str, dtype: torch.dtype, family: Family) -> BitsAndBytesConfig:
    """What transformers needs to quantise on loading. The vision tower and its projector keep their weights, which are small."""
    whole = list(family.unquantised)
    # Only 4 bits read the type to compute in.
    return BitsAndBytesConfig(llm_int8_skip_modules=whole, bnb_4bit_compute_dtype=dtype, **QUANTIZATIONS[quantization])


def _chat_template(source: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """The processor's chat template, which knows videos. The tokenizer's may be that of the text model, which drops them."""
    for file in ("chat_template.jinja", "chat_template.json"):
        path = _find(source, file)
        if path:
            text = Path(path).read_text(encoding="utf-8")
            return json.loads(text)["chat_template"] if file.endswith("json") else text
    if not tokenizer.chat_template:
        raise Unusable(TEMPLATE)
    return tokenizer.chat_template


# Where a checkpoint may say how frames or pictures become pixel values: (file, part of it).
_OWN = ("preprocessor_config.json", None)
_CLIPS = (("video_preprocessor_config.json", None), ("processor_config.json", "video_processor"), _OWN)
_IMAGES = (_OWN, ("processor_config.json", "image_processor"))


def _picture_settings(source: str, places: tuple[tuple[str, str | None], ...]) -> dict:
    """Size, mean, standard deviation and resampling, by the first of `places` that names a size; empty where none does."""
    for file, part in places:
        path = _find(source, file)
        settings = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
        settings = settings.get(part, {}) if part else settings
        if isinstance(settings, dict) and settings.keys() & {"size", "max_pixels", "max_soft_tokens", "scale_resolution"}:
            return settings
    return {}


def _find(source: str, file: str) -> str | None:
    return cached_file(source, file, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False)
