"""A checkpoint that was not loaded, and what is known about it: its files, its config.json, and the error with all that led to it."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

import torch
import transformers
from huggingface_hub import errors as hub
from huggingface_hub import is_offline_mode
from transformers import AutoModelForImageTextToText
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from aim.families import FAMILIES
from aim.runtime.checkpoint_files import PICKLES, CheckpointFiles
from aim.runtime.other_formats import unquantised, where_to_find

HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
_LONGEST = 80  # characters of a file's text that a sentence quotes


class Unusable(Exception):
    """Something that loading itself finds wrong with a checkpoint. Its argument is one of the words below."""


ADAPTER, WEIGHTS, TEMPLATE, PICTURES = "adapter", "weights", "chat template", "picture settings"
FILES, FAMILY, ODD_PICTURES, GENERATION, CONFIG = "files", "family", "odd picture settings", "generation settings", "config"


def shown_name(name: str) -> str:
    """A checkpoint's name as anybody may see it. A Hub id stays as it is, and of a folder or file only the last part is shown."""
    if not name or (HUB_ID.fullmatch(name) and not name.startswith(".") and not Path(name).exists()):
        return name
    return Path(name).resolve().name


class Failure:
    """A checkpoint that was not loaded, and what is known about it. The sentences of `aim.runtime.loading_errors` are filled in from it.

    Attributes:
        library: the name and version of transformers.
        supported: the model types that are supported, in one line.
        source: a folder, or a Hub id.
        error: what loading raised.
        name: the checkpoint's name as anybody may see it.
        files: the checkpoint's files.
    """

    library = f"transformers {transformers.__version__}"
    supported = ", ".join(sorted(FAMILIES))

    def __init__(self, source: str, error: Exception):
        self.source, self.error = source, error
        self.name = shown_name(source)
        self.files = CheckpointFiles(source)

    def raised(self, *kinds: type[BaseException]) -> bool:
        """Whether the error, or one that led to it, is of one of these classes."""
        return any(isinstance(error, kinds) for error in self.errors)

    def says(self, pattern: str) -> re.Match[str] | None:
        """The match of a regular expression in the text of the error, or of one that led to it; None where there is none."""
        return next(filter(None, (re.search(pattern, str(error)) for error in self.errors)), None)

    @cached_property
    def errors(self) -> list[BaseException]:
        """The error, and then each one that led to the one before it."""
        found: list[BaseException] = []
        error: BaseException | None = self.error
        while error is not None and error not in found:
            found.append(error)
            error = error.__cause__ or error.__context__
        return found

    @property
    def found(self) -> str | None:
        """What loading itself found wrong (see `Unusable`), or None."""
        return self.error.args[0] if isinstance(self.error, Unusable) else None

    @property
    def status(self) -> int | None:
        """The HTTP code of the Hub's answer, or None where the Hub reported no error."""
        responses = (getattr(error, "response", None) for error in self.errors if isinstance(error, hub.HfHubHTTPError))
        return next((response.status_code for response in responses if response is not None), None)

    @cached_property
    def config(self) -> dict:
        """Its config.json; {} where there is none."""
        return self.files.read("config.json")

    @cached_property
    def is_odd_config(self) -> bool:
        """Whether no model can be made of its config.json, tried without weights and without memory for any."""
        try:
            with torch.device("meta"):
                AutoModelForImageTextToText.from_config(CONFIG_MAPPING[self.kind].from_dict(self.config))
        except Exception:  # transformers raises whatever a value happens to lead to
            return self.kind in CONFIG_MAPPING
        return False

    @property
    def kind(self) -> str:
        """The model type that its config.json names."""
        return _short(self.config.get("model_type"))

    @property
    def built_as(self) -> str:
        """The class of the model that its config.json names."""
        classes = self.config.get("architectures")
        return _short(classes[0] if isinstance(classes, list) and classes else "")

    @property
    def place(self) -> str:
        """A word for what the source is."""
        return "folder" if self.files.is_folder else "repository"

    @property
    def in_transformers_format(self) -> str:
        """A sentence that says where the same model is in transformers' format."""
        return where_to_find(self.name, self.config)

    @property
    def base(self) -> str:
        """The model that an adapter belongs to."""
        base = self.files.read("adapter_config.json").get("base_model_name_or_path")
        return f'"{_short(shown_name(base))}"' if isinstance(base, str) and base else "its base model"

    @property
    def plain(self) -> str:
        """The repository with the weights that a quantised checkpoint was made from."""
        return unquantised(self.name)

    @property
    def quantised(self) -> str:
        """The name of the way its weights are quantised; "" where they are not."""
        settings = self.config.get("quantization_config")
        return _short(settings.get("quant_method") or "unnamed") if isinstance(settings, dict) else ""

    @property
    def package(self) -> str:
        """The package that an ImportError of transformers says to install."""
        asked = self.says(r"pip install (?:-U |--upgrade )?[`'\"]?([A-Za-z][\w-]*)")
        return asked[1] if asked else self.quantised

    @property
    def without_sdpa(self) -> str:
        """The part of the model that needs eager attention; "" where none does."""
        said = self.says(r"(\w+) does not support an attention implementation through torch.nn.functional.scaled_dot_product_attention")
        if said is None:
            return ""
        text = self.config.get("text_config")
        kind = str(text.get("model_type", "")) if isinstance(text, dict) else ""
        return f"text model ({said[1]})" if kind and kind.replace("_", "") in said[1].lower() else f"part {said[1]}"

    @property
    def pickle(self) -> str:
        """The first of its files of pickled weights."""
        return _short(self.files.first(*PICKLES))

    @property
    def amount(self) -> str:
        """The beginning of a sentence on how much of it is on this machine."""
        return f'Only a part of "{self.name}" is' if self.files.here else f'"{self.name}" is not'

    @property
    def is_half(self) -> bool:
        """Whether it is a folder in which files of its weights are missing."""
        files = self.files
        return files.is_folder and bool(files.missing_weights or (files.is_unfinished and not files.has_weights))

    @property
    def is_unreachable(self) -> bool:
        """Whether the Hub was asked and did not answer."""
        kinds = (hub.LocalEntryNotFoundError, hub.RevisionResolutionError, hub.HTTPError, hub.XetDownloadError, ConnectionError)
        silent = (error for error in self.errors if not isinstance(error, hub.HfHubHTTPError))
        return not self.files.is_folder and any(isinstance(error, kinds) for error in silent)

    @property
    def is_offline(self) -> bool:
        """Whether something is missing on this machine and the Hub was not asked, because the machine is set to offline."""
        files = self.files
        missing = files.missing_weights or not (files.has_weights or files.has(*PICKLES))
        unasked = self.raised(hub.OfflineModeIsEnabled) or (is_offline_mode() and bool(self.is_unreachable or missing))
        return not files.is_folder and unasked


def _short(value: object) -> str:
    return str(value)[:_LONGEST]
