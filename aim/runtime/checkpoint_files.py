"""Which files of a checkpoint there are, in its folder or its Hub repository. Nothing is loaded to find out."""

from __future__ import annotations

import json
from functools import cached_property
from pathlib import Path

from huggingface_hub import list_repo_files, try_to_load_from_cache

# JSON files that are read while a checkpoint is loaded.
_READ = (
    *("config.json", "generation_config.json", "model.safetensors.index.json", "chat_template.json", "tokenizer.json"),
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
    *("processor_config.json", "preprocessor_config.json", "video_preprocessor_config.json", "adapter_config.json"),
)
PICKLES = (".bin", ".pt", ".pth", ".ckpt")
INDEX = "model.safetensors.index.json"


class CheckpointFiles:
    """The files of a checkpoint. Everything is looked up when it is first asked for, and nothing raises.

    Attributes:
        source: a folder, or a Hub id.
        is_folder: whether `source` is a folder on this machine; else it is taken for a Hub id.
    """

    def __init__(self, source: str):
        self.source = source
        self.is_folder = bool(source) and Path(source).is_dir()

    @property
    def is_file(self) -> bool:
        """Whether `source` is a file on this machine."""
        return Path(self.source).is_file()

    @cached_property
    def folder(self) -> Path | None:
        """Where its files lie on this machine: the folder itself, or the Hub's cache. None where nothing of a repository is cached."""
        if self.is_folder:
            return Path(self.source)
        for name in ("config.json", "adapter_config.json", "model.safetensors", INDEX):
            try:
                path = try_to_load_from_cache(self.source, name)
            except ValueError:  # `source` is no Hub id
                return None
            if isinstance(path, str):
                return Path(path).parent
        return None

    def _path(self, name: str) -> Path:
        """The path of one of its files on this machine.

        Raises:
            FileNotFoundError: nothing of it is on this machine.
        """
        if self.folder is None:
            raise FileNotFoundError(name)
        return self.folder / name

    @cached_property
    def here(self) -> frozenset[str]:
        """Names of the files on this machine."""
        if self.folder is None:
            return frozenset()
        try:
            return frozenset(path.name for path in self.folder.iterdir() if path.is_file())
        except OSError:
            return frozenset()

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of all its files. For a repository these are what the Hub lists, or what is cached where the Hub cannot be asked."""
        if self.is_folder:
            return self.here
        try:
            return frozenset(list_repo_files(self.source)) | self.here
        except Exception:  # the Hub may fail to answer in any way, and then the cached files are all that is known
            return self.here

    def has(self, *endings: str) -> bool:
        """Whether the name of one of its files ends in one of these, in small or capital letters."""
        return any(name.lower().endswith(endings) for name in self.names)

    def first(self, *endings: str) -> str:
        """The first of its files, by name, that ends in one of these; "" where none does."""
        return min((name for name in self.names if name.lower().endswith(endings)), default="")

    def read(self, name: str) -> dict:
        """The JSON object in one of its files on this machine; {} where there is no such file or it holds no object."""
        try:
            content = json.loads(self._path(name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    @cached_property
    def damaged_json(self) -> str:
        """The first of its JSON files on this machine that holds no JSON object; "" where all do."""
        for name in sorted(self.here.intersection(_READ)):
            try:
                if not isinstance(json.loads(self._path(name).read_text(encoding="utf-8")), dict):
                    return name
            except ValueError:
                return name
            except OSError:
                continue
        return ""

    @cached_property
    def folder_for_file(self) -> str:
        """The first of the files that loading reads that is a folder on this machine; "" where none is."""
        names = (*_READ, "model.safetensors", "chat_template.jinja")
        return next((name for name in sorted(names) if self.folder is not None and (self.folder / name).is_dir()), "")

    @cached_property
    def damaged_text(self) -> str:
        """The first of its templates on this machine that is no text; "" where all are."""
        for name in sorted(name for name in self.here if name.endswith(".jinja")):
            try:
                self._path(name).read_text(encoding="utf-8")
            except ValueError:
                return name
            except OSError:
                continue
        return ""

    @cached_property
    def missing_weights(self) -> list[str]:
        """The files of weights that its index names and that are not on this machine."""
        shards = self.read(INDEX).get("weight_map")
        return sorted({str(shard) for shard in shards.values()} - self.here) if isinstance(shards, dict) else []

    @property
    def has_weights(self) -> bool:
        """Whether one of its safetensors files is on this machine."""
        return any(name.endswith(".safetensors") for name in self.here)

    @cached_property
    def pointer(self) -> str:
        """The first of its safetensors files on this machine that is only a pointer of Git LFS; "" where none is."""
        for name in sorted(name for name in self.here if name.endswith(".safetensors")):
            try:
                with self._path(name).open("rb") as file:
                    if file.read(40).startswith(b"version https://git-lfs"):
                        return name
            except OSError:
                continue
        return ""

    @cached_property
    def is_unfinished(self) -> bool:
        """Whether a download into the folder was interrupted."""
        return self.is_folder and any((Path(self.source) / ".cache" / "huggingface").rglob("*.incomplete"))
