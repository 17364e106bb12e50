"""What the paper reports for LLaVA-OneVision-7B, so that a setting can be seen beside the nearest one that was evaluated.

AIM, ICCV 2025 (arXiv 2412.03248): the tables of its poster, VideoMME without subtitles. Nothing here was measured by this project.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2

MODEL = "llava-onevision-qwen2-7b"
PAPER_TEXT_TOKENS = 100  # of the prompt; with them its FLOPs add up


@dataclass(frozen=True)
class Row:
    """One evaluated setting. With l1 = 28 nothing is dropped. `remark` says what is odd about a row."""

    merge_ratio: float
    l1: int
    l2: int
    tflops: float
    video_mme: float
    frames: int = 32
    remark: str = ""

    def sentence(self) -> str:
        """For example "paper: VideoMME 58.2 at 0.25/14/22, 32 frames"."""
        setting = "the full model" if self.merge_ratio == 1 else f"{self.merge_ratio:g}/{self.l1}/{self.l2}"
        return f"paper: VideoMME {self.video_mme} at {setting}, {self.frames} frames{self.remark}"


# The poster states 14/22 for these four, but their FLOPs are not those of 14/22.
_DOUBTFUL = " (as printed; its FLOPs are not those of 14/22)"
ROWS = (
    Row(1, 28, 29, 99.63, 58.2),
    Row(0.5, 28, 29, 46.48, 58.5),
    Row(0.25, 28, 29, 22.90, 58.0),
    Row(0.125, 28, 29, 11.64, 56.6),
    Row(0.063, 28, 29, 6.41, 53.6),
    Row(0.031, 28, 29, 3.85, 52.3),
    Row(0.016, 28, 29, 2.57, 50.9),
    Row(0.25, 21, 29, 20.15, 58.0),
    Row(0.25, 14, 29, 17.41, 57.7),
    Row(0.25, 7, 29, 14.66, 57.4),
    Row(0.25, 21, 22, 17.50, 58.1),
    Row(0.25, 14, 22, 14.76, 58.2),
    Row(0.25, 7, 22, 12.01, 56.8),
    Row(0.25, 14, 15, 12.10, 54.3),
    Row(0.25, 7, 15, 9.36, 52.9),
    Row(0.25, 7, 8, 6.71, 41.9),
    Row(0.125, 14, 22, 11.14, 56.4, remark=_DOUBTFUL),
    Row(0.063, 14, 22, 6.17, 53.6, remark=_DOUBTFUL),
    Row(0.031, 14, 22, 3.72, 52.3, remark=_DOUBTFUL),
    Row(0.016, 14, 22, 2.51, 50.9, remark=_DOUBTFUL),
    Row(0.25, 14, 22, 99.27, 59.2, frames=192),
)


def nearest(model: str, merge_ratio: float, l1: int, l2: int, frames: int) -> Row | None:
    """The row whose knobs are most like these: a factor of two in tokens or frames counts like a quarter of the depth.

    None for any other model than the one the paper's table is about.
    """
    if MODEL not in model:
        return None

    def distance(row: Row) -> float:
        layers = abs(row.l1 - min(l1, 28)) + abs(row.l2 - min(l2, 29))
        return abs(log2(row.merge_ratio / merge_ratio)) + layers / 7 + abs(log2(row.frames / frames))

    return min(ROWS, key=distance)
