"""From a name to a model: the bundled one, a local folder, or a Hub id; weights from safetensors only, no code from checkpoints."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import cached_file

from aim.families import Family, family_of
from aim.faults import is_disk_full, is_out_of_memory

AUTO = "auto"
BUNDLED = Path(__file__).parent.parent / "assets" / "shapes-vlm"


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint: the model in evaluation mode on its device, and what turns frames and words into its inputs."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    chat_template: str
    pictures: dict
    family: Family


def locate(name: str) -> str:
    """The folder or Hub id behind a name; "bundled" is the model in this repository."""
    return str(BUNDLED) if name == "bundled" else str(name)


def load_checkpoint(name: str, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> Checkpoint:
    """Load a checkpoint of a supported family.

    Args:
        name: "bundled", a folder, or a Hub id such as "llava-hf/llava-onevision-qwen2-0.5b-ov-hf".
        device: default CUDA where there is one, else the CPU. "auto" spreads the layers over all GPUs, and what does not fit there over
            the CPU's memory (the package accelerate's `device_map="auto"`).
        dtype: default bfloat16 on CUDA (float16 garbles LLaVA-OneVision), else float32.

    Raises:
        ValueError: nothing loadable under that name, a checkpoint that is incomplete or damaged, or has other weights than safetensors, a
            family that is not supported, or "auto" without accelerate.
    """
    if device == AUTO and importlib.util.find_spec("accelerate") is None:
        raise ValueError('device="auto" needs the package accelerate. Run `pip install accelerate`, or name one device such as "cuda:0".')
    spread = {"device_map": AUTO} if device == AUTO else {}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu") if device in (None, AUTO) else torch.device(device)
    dtype = dtype or (torch.bfloat16 if device.type == "cuda" else torch.float32)
    source = locate(name)
    shown = Path(name).name if Path(name).is_absolute() else name
    # Said outright everywhere: left open, transformers asks at the terminal whether a checkpoint's code may run.
    safely = {"trust_remote_code": False}
    with _refusing(
        f'No model could be loaded from "{shown}". Give "bundled", a checkpoint folder, or a '
        'Hub id such as "llava-hf/llava-onevision-qwen2-0.5b-ov-hf" that this machine can reach.'
    ):
        config = AutoConfig.from_pretrained(source, **safely)
    family = family_of(config)
    with _refusing(
        f'The checkpoint "{shown}" is incomplete or damaged, or its weights are no safetensors. Download it again, or choose another one.'
    ):
        model, loaded = AutoModelForImageTextToText.from_pretrained(
            source,
            config=config,
            dtype=dtype,
            use_safetensors=True,
            attn_implementation="sdpa",
            output_loading_info=True,
            **safely,
            **spread,
        )
        if loaded["missing_keys"]:  # transformers would make them up
            raise ValueError("weights are missing")
        tokenizer = AutoTokenizer.from_pretrained(source, **safely)
    return Checkpoint(
        name=name,
        model=(model if spread else model.to(device)).eval(),
        tokenizer=tokenizer,
        chat_template=_chat_template(source, tokenizer),
        pictures=_picture_settings(source),
        family=family,
    )


@contextmanager
def _refusing(sentence: str) -> Iterator[None]:
    """Turns whatever loading raises, which may hold paths, into one sentence; a fault of the machine stays what it is."""
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error) or is_disk_full(error) or isinstance(error, ImportError):
            raise
        raise ValueError(sentence) from error


def _chat_template(source: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """The processor's template, which knows videos; the tokenizer's own may be the text model's and drop them."""
    for file in ("chat_template.jinja", "chat_template.json"):
        path = _find(source, file)
        if path:
            text = Path(path).read_text()
            return json.loads(text)["chat_template"] if file.endswith("json") else text
    return tokenizer.chat_template


def _picture_settings(source: str) -> dict:
    """How frames become pixel values: size, mean, standard deviation, resampling."""
    places = (("video_preprocessor_config.json", None), ("processor_config.json", "video_processor"), ("preprocessor_config.json", None))
    for file, part in places:
        path = _find(source, file)
        settings = json.loads(Path(path).read_text()) if path else {}
        settings = settings.get(part, {}) if part else settings
        if "size" in settings or "max_pixels" in settings:
            return settings
    raise ValueError(f"The checkpoint has no picture settings; one of these files must hold them: {', '.join(f for f, _ in places)}.")


def _find(source: str, file: str) -> str | None:
    return cached_file(source, file, _raise_exceptions_for_missing_entries=False, _raise_exceptions_for_connection_errors=False)
