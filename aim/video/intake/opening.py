"""A file opened with PyAV, its packets and its frames. This module runs in the decoding process only.

The demuxer is the one that the header check found, so that a playlist is never followed, and `file` is the only protocol.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aim.video.edit_list import is_cut_off
from aim.video.intake.coded_picture import picture_test
from aim.video.intake.refusals import Refused

if TYPE_CHECKING:
    import av

_BROADCASTS = ("mpegts", "mpeg", "mpegvideo")
# Edit lists are applied by `aim.video.edit_list`.
_OPTIONS = {"mov": {"ignore_editlist": "1"}}


@dataclass(frozen=True)
class Video:
    """An open file and the video stream that is read.

    Attributes:
        container, stream: PyAV's own.
        alone: there is no other video stream.
        holds_picture: whether a packet of the stream holds a picture.
        joined: the file may begin in the middle of a broadcast, or be several of them one behind the other.
    """

    container: av.container.InputContainer
    stream: av.VideoStream
    alone: bool
    holds_picture: Callable[[memoryview], bool]
    joined: bool

    def packets(self) -> Iterator[av.Packet]:
        """Packets of the stream from here on, in decoding order, without those that the demuxer found cut short."""
        for packet in self.container.demux(self.stream):
            if not packet.is_corrupt and (packet.size or packet.pts is not None):
                yield packet

    def frames(self, at_start: bool = True) -> Iterator[av.VideoFrame]:
        """Frames from here on, in the order in which they are shown. `at_start`: nothing has been read or skipped before.

        Raises:
            av.FFmpegError: a packet cannot be decoded, though it holds a picture and does not come before the first frame of a broadcast.
        """
        import av

        lenient = at_start and self.joined
        for packet in self.packets():
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                if not lenient and self.holds_picture(memoryview(packet)):
                    raise
                continue
            lenient = lenient and not frames
            yield from frames
        yield from self.stream.codec_context.decode(None)


@contextmanager
def opened(file: str, demuxer: str, many_frames: bool = False) -> Iterator[Video]:
    """The first video stream that is no cover, for as long as the block lasts.

    Args:
        demuxer: FFmpeg's name of the container.
        many_frames: several frames are decoded at once, where the codec can. It is quicker, and errors come a few packets late.

    Raises:
        Refused: the file cannot be opened, or what the block asks of it cannot be decoded.
        ImportError: PyAV is not installed.
    """
    import av
    from av.stream import Disposition

    av.logging.set_level(None)
    # PyAV hands `options` to every stream as well, and before 18 it crashes where streams turn up late, as in MPG. So these are given as
    # `container_options`.
    options = {"protocol_whitelist": "file"} | _OPTIONS.get(demuxer, {})
    try:
        with av.open(f"file:{file}", format=demuxer, container_options=options, metadata_errors="ignore") as container:
            streams = [stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic]
            if not streams:
                raise Refused("damaged" if demuxer == "mov" and is_cut_off(file) else "no track")
            if streams[0].codec_context is None:
                raise Refused("no decoder")
            codec = streams[0].codec_context
            codec.thread_type = "AUTO" if many_frames else "SLICE"
            test = picture_test(codec.codec.canonical_name, codec.extradata)
            yield Video(container, streams[0], len(streams) == 1, test, demuxer in _BROADCASTS)
    except av.error.DecoderNotFoundError:
        raise Refused("no decoder") from None
    except av.FFmpegError as error:
        raise Refused("memory" if error.errno == errno.ENOMEM else "damaged") from None
