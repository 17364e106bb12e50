"""A question about a clip for an OpenAI-compatible server, which gets the frames as they are and so answers about the same ones."""

from __future__ import annotations

import io
from base64 import b64encode

import numpy as np
from PIL import Image


def clip_url(frames: np.ndarray) -> str:
    """Frames, uint8 [F, height, width, 3], as the URL of a `video_url` part, without loss.

    vLLM takes single frames under the name video/jpeg, and reads each of them by what it is, a PNG here.
    """
    return "data:video/jpeg;base64," + ",".join(_png(frame) for frame in frames)


def _png(frame: np.ndarray) -> str:
    written = io.BytesIO()
    Image.fromarray(frame).save(written, "png", compress_level=1)
    return b64encode(written.getvalue()).decode()


def question(url: str, text: str, merge_ratio: float | None = None) -> dict:
    """The arguments of `client.chat.completions.create` for a question about one clip, greedy.

    Args:
        url: of a video that the server can read, or `clip_url`.
        merge_ratio: the request's own; None leaves it to the server. The server must have been started with --trust-request-mm-kwargs.
    """
    content = [{"type": "video_url", "video_url": {"url": url}}, {"type": "text", "text": text}]
    own = {} if merge_ratio is None else {"extra_body": {"mm_processor_kwargs": {"merge_ratio": merge_ratio}}}
    return {"messages": [{"role": "user", "content": content}], "temperature": 0, **own}
