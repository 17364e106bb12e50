"""What the frame explorer in the browser needs of a run: the frames as one picture, and the trace as compact arrays.

The other half is assets/explorer/: trace.js decodes, words.js says what became of a patch, looks.js knows what colours and patterns mean,
draw.js paints, marks.js draws what lies over that, pick.js chooses patches, sheet.js keeps all frames, frames.js and time.js are the two
tabs. The page and the offline report run the very same scripts on this payload. Moving a scrubber calls no Python.
"""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
from PIL import Image

from aim.kernels.trace import Trace
from aim.views.colour import VIRIDIS
from aim.views.fates import places
from aim.views.frames import LARGEST, first_of, score_scale
from aim.views.mosaic import most_divided, patch_colours, token_colours
from aim.views.sheet import jpeg_url

ASSETS = Path(__file__).resolve().parents[2] / "assets" / "explorer"
SCRIPTS = ("trace.js", "words.js", "looks.js", "marks.js", "draw.js", "page.js", "wipe.js", "pick.js", "sheet.js", "frames.js", "time.js")
# For all frames together: 16 frames of 640 × 360 keep their size, and 64 are shrunk to 408 × 229 each.
PICTURE_PIXELS = 6_000_000
PICTURES_ACROSS = 8
LEVELS = 65535


def payload(frames: np.ndarray, timestamps: np.ndarray, trace: Trace, picture_pixels: int = PICTURE_PIXELS, picture: bool = True) -> dict:
    """A run as plain JSON values for the explorer. F frames of T = rows · columns patches became M merged tokens; L layers.

    Args:
        frames: uint8 [N, H, W, 3]. Where the model joins frames in time, the trace has F < N frames, and each shows the first it joined.
        timestamps: [N] seconds.
        trace: of a finished run. Nothing is assumed about the order of merged tokens, and a token may hold patches of several frames.
        picture_pixels: how many pixels all frames together may have; frames are shrunk to fit, never enlarged.
        picture: whether to send it. Without it the value holds its size only, and the browser takes the one that it has: a moving slider
            then sends a few kilobytes.

    Returns:
        frames, rows, columns, layers: F, rows, columns, L.
        times: [F] seconds.
        picture: {data, width, height, columns}: a JPEG data URL, or None where it was not wanted. Frame f is width × height, at column
            f % columns and row f // columns.
        start_frame: the frame on which merging shows best.
        assignment: packed [F · T], patch → merged token, -1 for a patch that was dropped before the language model.
        anchors: packed [M], the patch (0...F · T - 1) at whose place each merged token stands.
        last_layer: packed [M], the last layer each merged token was in, -1 for none.
        holders: only where tokens were averaged into others inside the language model: {layer: packed [M]} for every layer before which
            tokens were merged or dropped from then on: the merged token that each of them is in, itself where it is alive, -1 for none.
        group_colours: packed uint8 [M · 3], mean colour (RGB) of each merged token's patches.
        scores: [L]; None or {low, high, clipped, levels}: levels packed uint16, one for each merged token alive in the layer in ascending
            order, 0...65535 for low...high on a logarithmic scale. Scores below `low` count as `low`, and `clipped` says there were any.
        colour_map: [9] of [r, g, b], for equally spaced fractions 0...1.
        A packed array is {dtype, data}: little-endian numbers in base64.

    Raises:
        ValueError: the trace is empty, or frames and timestamps do not fit each other.
    """
    if not trace.frames or not trace.tokens_per_layer:
        raise ValueError("The trace is empty; the explorer shows a finished run. Run the model once, then pass its trace.")
    if len(frames) != len(timestamps) or len(frames) < trace.frames:
        raise ValueError(
            f"There are {len(frames)} frames, {len(timestamps)} timestamps and a trace of {trace.frames} frames; "
            "pass the frames of that run and a timestamp for each."
        )
    own = first_of(frames, trace.frames)
    colours = patch_colours(own, trace.rows, trace.columns)
    layers = len(trace.tokens_per_layer)
    numbers = "int16" if trace.merged_tokens <= 32768 else "int32"
    return {
        "frames": trace.frames,
        "rows": trace.rows,
        "columns": trace.columns,
        "layers": layers,
        "times": [round(float(time), 3) for time in first_of(timestamps, trace.frames)],
        "picture": picture_of(own, picture_pixels, picture),
        "start_frame": most_divided(trace, colours),
        "assignment": pack(np.asarray(trace.assignment), numbers),
        "anchors": pack(places(trace), "uint16" if trace.visual_tokens <= 65536 else "uint32"),
        "last_layer": pack(np.asarray(trace.last_layer()), "int16"),
        **({"holders": {str(layer): pack(np.asarray(held), numbers) for layer, held in trace.holders.items()}} if trace.holders else {}),
        "group_colours": pack(token_colours(colours, trace), "uint8"),
        "scores": [_scores(trace, layer) for layer in range(layers)],
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


def picture_of(frames: np.ndarray, picture_pixels: int = PICTURE_PIXELS, wanted: bool = True) -> dict:
    """Frames uint8 [F, H, W, 3] side by side, as the entry "picture" of `payload`. Its data is None where it is not `wanted`."""
    count, height, width = frames.shape[:3]
    scale = min(1.0, LARGEST / max(width, height), (picture_pixels / count / (width * height)) ** 0.5)
    width, height = max(1, int(width * scale)), max(1, int(height * scale))
    across = min(PICTURES_ACROSS, count)
    place = {"width": width, "height": height, "columns": across}
    if not wanted:
        return {"data": None, **place}
    sheet = Image.new("RGB", (across * width, -(-count // across) * height))
    for index, frame in enumerate(frames):
        picture = Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2)
        sheet.paste(picture, (index % across * width, index // across * height))
    return {"data": jpeg_url(sheet, quality=80), **place}


def _scores(trace: Trace, layer: int) -> dict | None:
    if layer not in trace.scored_layers:
        return None
    scores = np.asarray(trace.scores[layer], np.float64)[np.argsort(np.asarray(trace.survivors[layer]))]
    scale = score_scale(trace, layer)
    levels = pack(np.round(scale(scores) * LEVELS), "uint16")
    return {"low": scale.low, "high": scale.high, "clipped": bool(scores.min() < scale.low), "levels": levels}
