"""What a file is: codec, size, pixel aspect and display matrix, from which a reader is chosen. It runs in the decoding process only."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from aim.video.intake.opening import opened
from aim.video.intake.refusals import Refused
from aim.video.intake.shape import Turn, is_sheared, shown_size, turn_of


@dataclass(frozen=True)
class Facts:
    """What is known of a file.

    Attributes:
        demuxer, codec: FFmpeg's names of the container and of the compression.
        size: (width, height) in pixels, as stored.
        shown: (width, height) with square pixels, before `turn`.
        turn: what brings the picture upright.
        alone: there is no second video stream.
        has_length: the file tells how long it lasts.
    """

    demuxer: str
    codec: str
    size: tuple[int, int]
    shown: tuple[int, int]
    turn: Turn
    alone: bool
    has_length: bool


def facts_of(file: str, demuxer: str) -> Facts:
    """The facts of a checked file. Its first frame is decoded, because the display matrix is found there in every container and codec.

    Raises:
        Refused: there is no video stream, no frame that can be decoded, or one over the limit.
    """
    from av.sidedata.sidedata import Type

    with opened(file, demuxer) as video:
        context = video.stream.codec_context
        shown_size(context.width, context.height, None)  # the limit, before anything is decoded at that size
        first = next(video.frames(), None)
        if first is None:
            raise Refused("damaged")
        matrix = first.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]  # PyAV's annotation knows only some names
        matrix = None if matrix is None else bytes(matrix)
        aspect = context.sample_aspect_ratio if is_sheared(matrix) else video.stream.sample_aspect_ratio
        return Facts(
            demuxer,
            context.codec.canonical_name,
            (first.width, first.height),
            shown_size(first.width, first.height, _aspect(aspect)),
            turn_of(matrix),
            video.alone,
            video.container.duration is not None,
        )


def _aspect(given: Fraction | None) -> Fraction | None:
    return given if given and given > 0 else None
