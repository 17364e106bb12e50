"""Frames through the program ffmpeg, for what decord cannot read: GIF, MPEG-TS, AV1. Runs in the decoding process.

Two passes over the file, because only the first tells when each frame appears. The demuxer is the one the header check found, so that a
playlist is never followed, and `file` is the only protocol.
"""

from __future__ import annotations

import math
import re
import subprocess

import numpy as np

from aim.video.edit_list import shown_seconds
from aim.video.intake.refusals import Refused
from aim.video.intake.sampling import TOLERANCE, choose, reduced

_TIME_BASE = re.compile(rb"showinfo.*config in time_base: (\d+)/(\d+), frame_rate: (\d+)/(\d+)")
_FRAME = re.compile(rb"showinfo.* n: *(\d+) +pts: *(-?\d+|NOPTS) .* s:(\d+)x(\d+) ")
# what ffmpeg says → the reason; anything else is damage
_MESSAGES = {
    b"matches no streams": "no track",
    b"not found for input stream": "no decoder",
    b"no decoder found": "no decoder",
    b"Cannot allocate memory": "memory",
}
_ENDLESS = 1 << 16  # bytes of messages kept


def read_with_ffmpeg(ffmpeg: str, demuxer: str, file: str, num_frames: int, max_side: int) -> tuple[np.ndarray, np.ndarray, float]:
    """(frames, timestamps, duration); see `aim.video.clip.Clip`. `ffmpeg` is the program, `demuxer` what it is to take the file for.

    Raises Refused for a file that cannot be read.
    """
    command = [ffmpeg, "-hide_banner", "-nostdin", "-v", "info", "-xerror", "-protocol_whitelist", "file", "-f", demuxer]
    command += ["-i", f"file:{file}", "-map", "0:V:0", "-an", "-sn", "-dn"]
    times, step, size = _appearances([*command, "-vf", "showinfo", "-f", "null", "-"], demuxer)
    shown, end = _shown(file, times) if demuxer == "mov" else (np.arange(len(times)), math.inf)
    picks, timestamps, duration = choose(times[shown], end if end < math.inf else times[shown[-1]] + step, num_frames)
    picks = shown[picks]
    width, height = reduced(*size, max_side)
    distinct, places = np.unique(picks, return_inverse=True)
    chosen = "+".join(f"eq(n\\,{pick})" for pick in distinct)
    # Numbered anew at 25 frames a second, or ffmpeg would repeat frames to fill the gaps.
    filters = f"select={chosen},settb=1/25,setpts=N,scale={width}:{height}"
    output = ["-vf", filters, "-r", "25", "-frames:v", str(len(distinct)), "-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    frames = np.empty((len(distinct), height, width, 3), dtype=np.uint8)
    with subprocess.Popen([*command, *output], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        complete = process.stdout.readinto(memoryview(frames).cast("B")) == frames.nbytes and not process.stdout.read(1)
    if not complete:
        raise Refused("damaged")
    return frames[places], timestamps, duration


def _shown(file: str, times: np.ndarray) -> tuple[np.ndarray, float]:
    """(indices of the frames that an edit list shows, its end). AV1 decoders hand out hidden ones as well, before 0 and after the end."""
    if (np.diff(times) <= 0).any():
        raise Refused("edited")
    end = shown_seconds(file) or math.inf
    shown = np.flatnonzero((times > -TOLERANCE) & (times < end - TOLERANCE))
    if not len(shown):
        raise Refused("damaged")
    return shown, end


def _appearances(command: list[str], demuxer: str) -> tuple[np.ndarray, float, tuple[int, int]]:
    """(seconds at which all frames appear, seconds the last one lasts, (width, height) upright)."""
    ticks, sizes, base, rate, said = [], set(), 0.0, 0.0, b""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        for line in iter(lambda: process.stderr.readline(_ENDLESS), b""):
            if frame := _FRAME.search(line):
                number, tick, width, height = frame.groups()
                if int(number) != len(ticks):  # its filters start over
                    process.kill()
                    raise Refused("changing size")
                ticks.append(None if tick == b"NOPTS" else int(tick))
                sizes.add((int(width), int(height)))
            elif config := _TIME_BASE.search(line):
                numerator, denominator, frames, seconds = map(int, config.groups())
                base, rate = numerator / denominator, frames / max(seconds, 1)
            elif b"showinfo" not in line:
                said = (said + line)[-_ENDLESS:]
    if process.returncode or not ticks:
        default = "damaged" if process.returncode else "no track"
        raise Refused(next((reason for part, reason in _MESSAGES.items() if part in said), default))
    if len(sizes) > 1:
        raise Refused("changing size")
    step = 1 / rate if rate > 0 else 1 / 25
    if None in ticks or demuxer != "mov" and (np.diff(ticks) <= 0).any():
        return np.arange(len(ticks)) * step, step, sizes.pop()
    times = np.array(ticks, dtype=np.float64) * base
    return times, float(times[-1] - times[-2]) if len(times) > 1 else step, sizes.pop()
