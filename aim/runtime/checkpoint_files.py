"""What is there of a checkpoint, in its folder or its Hub repository, told without loading it."""

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
        is_folder: whether `source` is a folder here; it is taken for a Hub id otherwise.
    """

    def __init__(self, source: str):
        self.source = source
        self.is_folder = bool(source) and Path(source).is_dir()

    @property
    def is_file(self) -> bool:
        return Path(self.source).is_file()

    @cached_property
    def folder(self) -> Path | None:
        """Where its files lie here: the folder itself, or the Hub's cache; None where nothing of a repository is cached."""
        if self.is_folder:
            return Path(self.source)
        for name in ("config.json", "adapter_config.json", "model.safetensors", INDEX):
            try:
                path = try_to_load_from_cache(self.source, name)
            except ValueError:  # no Hub id
                return None
            if isinstance(path, str):
                return Path(path).parent
        return None

    @cached_property
    def here(self) -> frozenset[str]:
        """Names of the files on this machine."""
        if self.folder is None:
            return frozenset()
        try:
            return frozenset(path.name for path in self.folder.iterdir() if path.exists())
        except OSError:
            return frozenset()

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of all its files: of a repository what the Hub lists, or what is cached of it where the Hub cannot be asked."""
        if self.is_folder:
            return self.here
        try:
            return frozenset(list_repo_files(self.source)) | self.here
        except Exception:  # whatever keeps the Hub from answering, the cache is what is left
            return self.here

    def has(self, *endings: str) -> bool:
        """Whether one of its files ends so, in any case of letters."""
        return any(name.lower().endswith(endings) for name in self.names)

    def first(self, *endings: str) -> str:
        """The first of its files that ends so, "" where none does."""
        return min((name for name in self.names if name.lower().endswith(endings)), default="")

    def read(self, name: str) -> dict:
        """A JSON object on this machine; {} where it is not there or no such object."""
        try:
            content = json.loads((self.folder / name).read_text(encoding="utf-8")) if self.folder else {}
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    @cached_property
    def damaged_json(self) -> str:
        """The first JSON file of a checkpoint here that holds no JSON object, "" where all do."""
        for name in sorted(self.here.intersection(_READ)):
            try:
                if not isinstance(json.loads((self.folder / name).read_text(encoding="utf-8")), dict):
                    return name
            except ValueError:
                return name
            except OSError:
                continue
        return ""

    @cached_property
    def missing_weights(self) -> list[str]:
        """Files of weights that its index names and that are not on this machine."""
        shards = self.read(INDEX).get("weight_map")
        return sorted({str(shard) for shard in shards.values()} - self.here) if isinstance(shards, dict) else []

    @property
    def has_weights(self) -> bool:
        """Whether a file of safetensors is on this machine."""
        return any(name.endswith(".safetensors") for name in self.here)

    @cached_property
    def pointer(self) -> str:
        """The first file of weights here that is a pointer of Git LFS, "" where none is."""
        for name in sorted(name for name in self.here if name.endswith(".safetensors")):
            try:
                with (self.folder / name).open("rb") as file:
                    if file.read(40).startswith(b"version https://git-lfs"):
                        return name
            except OSError:
                continue
        return ""

    @cached_property
    def is_unfinished(self) -> bool:
        """Whether a download into the folder was broken off."""
        return self.is_folder and any((Path(self.source) / ".cache" / "huggingface").rglob("*.incomplete"))
