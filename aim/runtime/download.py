"""The files of a checkpoint of the Hub, brought onto this machine. Somebody who waits is told how many bytes are there."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import constants, snapshot_download
from safetensors import safe_open
from tqdm.auto import tqdm

from aim.engine.stopping import Stopped
from aim.kernels.refusal import Refusal
from aim.runtime.checkpoint_files import CheckpointFiles
from aim.runtime.loading_errors import told

# What loading reads. Pickles are never read, and folders hold the same model in other formats.
_FILES: dict[str, Any] = {
    "allow_patterns": ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"],
    "ignore_patterns": ["*/*", "consolidated*"],
}


@dataclass
class Far:
    """How far something is, in bytes. `total` is 0 where it is not known."""

    done: int = 0
    total: int = 0


def download(hub_id: str, far: Far, stop: threading.Event) -> None:
    """Download what is missing of a checkpoint into the Hub's cache. `far` follows, also from another thread.

    Where the Hub cannot be asked nothing is downloaded: loading then finds the files in the cache, or says why it cannot.

    Raises:
        Stopped: `stop` was set. What has arrived is kept, and the next download goes on from there.
        Refusal: the disk has no room for it, or it broke off for a reason of `aim.runtime.loading_errors`.
    """
    try:
        files = snapshot_download(hub_id, dry_run=True, **_FILES)
    except Exception:
        return
    far.total = sum(file.file_size or 0 for file in files if file.will_download)
    if not far.total:
        return
    cache = Path(constants.HF_HUB_CACHE)
    cache.mkdir(parents=True, exist_ok=True)
    if (left := shutil.disk_usage(cache).free) < far.total:
        raise Refusal(f'"{hub_id}" takes {far.total / 1e9:.1f} GB on disk, which has {left / 1e9:.1f} GB left. Free some, and try again.')
    with told(hub_id), suppress(Stopped):
        snapshot_download(hub_id, tqdm_class=_counting(far, stop.is_set), **_FILES)
        return
    raise Stopped


def _counting(far: Far, stopped: Callable[[], bool]) -> type[tqdm]:
    """A progress bar for `snapshot_download` that prints nothing. It counts into `far`, and ends the download once `stopped()` is true."""

    class Counting(tqdm):
        def __init__(self, *arguments: Any, **options: Any):
            self.counts_bytes = options.get("unit") == "B"
            self.counted = 0
            super().__init__(*arguments, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> None:
            if stopped():
                raise Stopped
            if self.counts_bytes:
                # There may be two bars, of bytes that arrived and of bytes that were written. The one that is further ahead is told.
                self.counted += int(n or 0)
                far.done = min(far.total, max(far.done, self.counted))

    return Counting


def loaded_bytes(name: str, bytes_per_value: int) -> int:
    """Bytes of a checkpoint's weights once they are loaded with so many bytes a value; 0 where its files are not on this machine."""
    folder = CheckpointFiles(name).folder
    total = 0
    for path in [] if folder is None else folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            for key in file.keys():  # noqa: SIM118  # it is no mapping
                count = 1
                for length in file.get_slice(key).get_shape():
                    count *= length
                total += count * bytes_per_value
    return total
