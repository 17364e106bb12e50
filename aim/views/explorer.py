"""What the frame explorer in the browser needs of a run: the frames as one picture, and the trace as compact arrays.

The other half is assets/explorer/: trace.js decodes, draw.js paints, frames.js and time.js are the two tabs. The page and the offline
report run the very same scripts on this payload. Moving a scrubber calls no Python.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from PIL import Image

from aim.kernels.grid import Grid
from aim.kernels.trace import Trace
from aim.views.colour import VIRIDIS
from aim.views.fates import places
from aim.views.frames import LARGEST, score_scale, sources
from aim.views.mosaic import most_divided, patch_colours, token_colours
from aim.views.sheet import jpeg_url

ASSETS = Path(__file__).resolve().parents[2] / "assets" / "explorer"
SCRIPTS = ("trace.js", "draw.js", "page.js", "frames.js", "time.js")
# For all frames together: 16 frames of 640 × 360 keep their size, and 64 are shrunk to 408 × 229 each.
PICTURE_PIXELS = 6_000_000
PICTURES_ACROSS = 8
LEVELS = 65535


@dataclass(frozen=True)
class ClipPicture:
    """What the explorer shows of a clip whatever the knobs are: made once a clip and grid, and sent once.

    Attributes:
        key: stands for the picture; the browser keeps the pictures of the last few.
        times: [F] seconds.
        picture: {data, width, height, columns}, see `payload`.
        colours: mean colour of every patch, uint8 [F, rows, columns, 3].
    """

    key: str
    times: list[float]
    picture: dict
    colours: np.ndarray

    @classmethod
    def of(cls, frames: np.ndarray, timestamps: np.ndarray, grid: Grid | Trace, picture_pixels: int = PICTURE_PIXELS) -> ClipPicture:
        """The picture of a clip. `grid` says how many frames, rows and columns the model makes of it; a trace of the clip says it too.

        Raises:
            ValueError: see `payload`.
        """
        if not grid.frames:
            raise ValueError("The trace is empty; the explorer shows a finished run. Run the model once, then pass its trace.")
        if len(frames) != len(timestamps) or len(frames) < grid.frames:
            raise ValueError(
                f"There are {len(frames)} frames, {len(timestamps)} timestamps and a trace of {grid.frames} frames; "
                "pass the frames of that run and a timestamp for each."
            )
        shown = sources(len(frames), grid.frames)
        picture = _picture([Image.fromarray(frames[index]) for index in shown], picture_pixels)
        colours = patch_colours(frames[shown], grid.rows, grid.columns)
        key = blake2b(picture["data"].encode("ascii"), digest_size=8).hexdigest()
        return cls(key, [round(float(timestamps[index]), 3) for index in shown], picture, colours)


def payload(frames: np.ndarray, timestamps: np.ndarray, trace: Trace, picture_pixels: int = PICTURE_PIXELS, scores: bool = True) -> dict:
    """A run as plain JSON values for the explorer. F frames of T = rows · columns patches became M merged tokens; L layers.

    Args:
        frames: uint8 [N, H, W, 3]. Where the model joins frames in time, the trace has F < N frames, and each shows the first it joined.
        timestamps: [N] seconds.
        trace: of a finished run. Nothing is assumed about the order of merged tokens, and a token may hold patches of several frames.
        picture_pixels: how many pixels all frames together may have; frames are shrunk to fit, never enlarged.
        scores: whether to send them; the Moments tab does without.

    Returns:
        frames, rows, columns, layers: F, rows, columns, L.
        times: [F] seconds.
        clip: the key of the picture.
        picture: {data, width, height, columns}: a JPEG data URL. Frame f is width × height, at column f % columns and row f // columns.
        start_frame: the frame on which merging shows best.
        assignment: packed [F · T], patch → merged token, -1 for a patch that was dropped before the language model.
        anchors: packed [M], the patch (0...F · T - 1) at whose place each merged token stands.
        last_layer: packed [M], the last layer each merged token was in, -1 for none.
        group_colours: packed uint8 [M · 3], mean colour (RGB) of each merged token's patches.
        scores: [L]; None or {low, high, clipped, levels}: levels packed uint16, one for each merged token alive in the layer in ascending
            order, 0...65535 for low...high on a logarithmic scale. Scores below `low` count as `low`, and `clipped` says there were any.
        colour_map: [9] of [r, g, b], for equally spaced fractions 0...1.
        A packed array is {dtype, data}: little-endian numbers in base64.

    Raises:
        ValueError: the trace is empty, or frames and timestamps do not fit each other.
    """
    return live_payload(ClipPicture.of(frames, timestamps, trace, picture_pixels), trace, scores=scores)


def live_payload(clip: ClipPicture, trace: Trace, known: str = "", scores: bool = True) -> dict:
    """`payload` from what is already there of a clip, for a run that follows a moving slider: a few kilobytes and about a millisecond.

    Args:
        trace: of a finished run on this clip.
        known: the key of the picture that the browser has. If it is this clip's, `picture` is None, and the browser takes its own.

    Raises:
        ValueError: the trace is empty, or its grid is not the clip's.
    """
    if not trace.tokens_per_layer:
        raise ValueError("The trace is empty; the explorer shows a finished run. Run the model once, then pass its trace.")
    grid = (trace.frames, trace.rows, trace.columns)
    if clip.colours.shape[:3] != grid:
        raise ValueError(f"The picture is of a grid of {clip.colours.shape[:3]} and the trace of {grid} frames, rows and columns.")
    layers = len(trace.tokens_per_layer)
    numbers = "int16" if trace.merged_tokens <= 32768 else "int32"
    return {
        "frames": trace.frames,
        "rows": trace.rows,
        "columns": trace.columns,
        "layers": layers,
        "times": clip.times,
        "clip": clip.key,
        "picture": None if known == clip.key else clip.picture,
        "start_frame": most_divided(trace, clip.colours),
        "assignment": pack(np.asarray(trace.assignment), numbers),
        "anchors": pack(places(trace), "uint16" if trace.visual_tokens <= 65536 else "uint32"),
        "last_layer": pack(np.asarray(trace.last_layer()), "int16"),
        "group_colours": pack(token_colours(clip.colours, trace), "uint8"),
        "scores": [_scores(trace, layer) if scores else None for layer in range(layers)],
        "colour_map": VIRIDIS.astype(int).tolist(),
    }


def pack(values: np.ndarray, dtype: str) -> dict[str, str]:
    """Numbers of any shape as {dtype, data}: row by row, little-endian, base64."""
    raw = np.ascontiguousarray(values).astype(np.dtype(dtype).newbyteorder("<")).tobytes()
    return {"dtype": dtype, "data": base64.b64encode(raw).decode("ascii")}


def script(start: str) -> str:
    """The explorer's JavaScript followed by one statement, for example `startFrames(element, props, watch)`."""
    return "\n".join([*((ASSETS / name).read_text(encoding="utf-8") for name in SCRIPTS), f"{start};"])


def stylesheet() -> str:
    """The explorer's CSS. It reads Gradio's theme variables."""
    return (ASSETS / "style.css").read_text(encoding="utf-8")


def _picture(pictures: list[Image.Image], picture_pixels: int) -> dict:
    width, height = pictures[0].size
    scale = min(1.0, LARGEST / max(width, height), (picture_pixels / len(pictures) / (width * height)) ** 0.5)
    width, height = max(1, int(width * scale)), max(1, int(height * scale))
    across = min(PICTURES_ACROSS, len(pictures))
    sheet = Image.new("RGB", (across * width, -(-len(pictures) // across) * height))
    for index, picture in enumerate(pictures):
        sheet.paste(
            picture.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2), (index % across * width, index // across * height)
        )
    return {"data": jpeg_url(sheet, quality=80), "width": width, "height": height, "columns": across}


def _scores(trace: Trace, layer: int) -> dict | None:
    if layer not in trace.scored_layers:
        return None
    scores = np.asarray(trace.scores[layer], np.float64)[np.argsort(np.asarray(trace.survivors[layer]))]
    scale = score_scale(trace, layer)
    levels = pack(np.round(scale(scores) * LEVELS), "uint16")
    return {"low": scale.low, "high": scale.high, "clipped": bool(scores.min() < scale.low), "levels": levels}
