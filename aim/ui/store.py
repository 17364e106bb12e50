"""The app's decoded clips. All visitors share one store, which finds a clip by the content of its file and is bounded in bytes."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from aim.engine.stopping import Stopped
from aim.kernels.refusal import Refusal
from aim.runtime.byte_sizes import MIB, size_from_environment
from aim.video.clip import Clip
from aim.video.media import read_media

CLIPS_MEMORY, VARIABLE = 1024 * MIB, "AIM_CLIPS_MEMORY"
_FILES_REMEMBERED = 1024

# (SHA-256 of the file, frames asked for)
Key = tuple[str, int]


class ClipStore:
    """The clips that were read last. It may be used from any thread.

    Visitors whose files hold the same share a clip. A clip is found by its file's content, which is read to find it, so nobody reaches a
    clip without having its file, and none once the file is deleted.

    Attributes:
        limit: bytes. A clip that is larger alone is not kept.
        bytes: what is kept now.
    """

    def __init__(self, limit: int = CLIPS_MEMORY):
        self.limit, self.bytes = limit, 0
        self._clips: OrderedDict[Key, Clip] = OrderedDict()
        self._digests: OrderedDict[tuple, str] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def from_environment(cls) -> ClipStore:
        """A store of AIM_CLIPS_MEMORY bytes, 1 GiB by default. Raises Refusal where that is no size."""
        return cls(size_from_environment(VARIABLE, CLIPS_MEMORY))

    def __len__(self) -> int:
        return len(self._clips)

    def __contains__(self, asked: tuple[str, int]) -> bool:
        """Whether the clip of (path, frames) need not be read."""
        return self._found(self._key(*asked)) is not None

    def clip(self, path: str, num_frames: int, stop: threading.Event | None = None, read: Callable[..., Clip] = read_media) -> Clip:
        """The clip of a file, read if it is not kept.

        Args:
            read: called as `read(path, num_frames=, stop=)`.

        Raises:
            Refusal: what the reader refuses.
            Stopped: `stop` was set while it read.
        """
        key = self._key(path, num_frames)
        if (kept := self._found(key)) is not None:
            return kept
        try:
            clip = read(path, num_frames=int(num_frames), stop=stop)
        except Refusal:
            if stop is not None and stop.is_set():
                raise Stopped from None
            raise
        if key is not None:
            self._keep(key, clip)
        return clip

    def _key(self, path: str, num_frames: int) -> Key | None:
        """None where the file cannot be read. The reader will say why."""
        try:
            file = Path(path).resolve()
            facts = file.stat()
            identity = (str(file), facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)
            with self._lock:
                digest = self._digests.get(identity)
            if digest is None:
                with file.open("rb") as opened:
                    digest = hashlib.file_digest(opened, "sha256").hexdigest()
        except (OSError, ValueError):
            return None
        with self._lock:
            self._digests[identity] = digest
            while len(self._digests) > _FILES_REMEMBERED:
                self._digests.popitem(last=False)
        return digest, int(num_frames)

    def _found(self, key: Key | None) -> Clip | None:
        with self._lock:
            if key is None or key not in self._clips:
                return None
            self._clips.move_to_end(key)
            return self._clips[key]

    def _keep(self, key: Key, clip: Clip) -> None:
        with self._lock:
            if (before := self._clips.pop(key, None)) is not None:
                self.bytes -= size_of(before)
            self._clips[key] = clip
            self.bytes += size_of(clip)
            while self.bytes > self.limit:
                _, oldest = self._clips.popitem(last=False)
                self.bytes -= size_of(oldest)


def size_of(clip: Clip) -> int:
    """Bytes of a clip's frames and times."""
    return clip.frames.nbytes + clip.timestamps.nbytes
