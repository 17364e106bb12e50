"""Why a video is refused: one table of reasons and advice, so that a decoding process can only choose a sentence and never write one."""

from __future__ import annotations

from typing import NoReturn

from aim.kernels.refusal import Refusal
from aim.video.intake.limits import (
    FORMATS,
    MAX_GIGABYTES_TO_READ,
    MAX_HOURS,
    MAX_MEGABYTES,
    MAX_MEGAPIXELS,
    MAX_SECONDS_TO_READ,
)

CONVERT = "Convert it to MP4 (H.264) and upload again."
SMALLER = "Cut it or make it smaller (1080p is plenty), as MP4 (H.264), and upload again."
RECORD_AGAIN = "Export or record it again, as MP4 (H.264), and upload the new file."

# reason → (what is wrong, what to do)
REASONS = {
    "no path": ("it is a {given}", "Upload a file."),
    "no name": ("it is no file name", "Upload a file."),
    "link": ("it is a link", "Download it and upload the file."),
    "missing": ("there is no such file, or it may not be opened", "Check its name and upload it again."),
    "unspeakable name": ("its name holds characters that no decoder takes", "Rename it to clip.mp4 and upload again."),
    "empty": ("it is empty", "Upload it again, or export it as MP4 (H.264)."),
    "unknown format": ("its content is in none of the accepted formats, whatever its name says", CONVERT),
    "megabytes": (f"it has {{given:,.0f}} MB and the limit is {MAX_MEGABYTES:,} MB", SMALLER),
    "hours": (f"it lasts {{given:,.1f}} hours and the limit is {MAX_HOURS} hours", "Cut it and upload the part you ask about."),
    "megapixels": (f"its frames have {{given:,.0f}} megapixels and the limit is {MAX_MEGAPIXELS} megapixels", SMALLER),
    "time": (f"reading it takes longer than the limit of {MAX_SECONDS_TO_READ} seconds", SMALLER),
    "memory": (f"reading it takes more memory than the limit of {MAX_GIGABYTES_TO_READ} GB", SMALLER),
    "no track": ("there is no video track in it, only sound, a cover picture or nothing", CONVERT),
    "no decoder": ("its video is in a codec that cannot be decoded here", CONVERT),
    "edited": ("it is cut together, and its frames have no times to cut at", RECORD_AGAIN),
    "damaged": ("it is damaged or incomplete", RECORD_AGAIN),
    "stopped": ("reading it was stopped", "Press Run to read it again."),
    "crash": ("the decoder breaks down on it, so it is damaged or not what it claims to be", RECORD_AGAIN),
}


class Refused(Exception):
    """A reason of the table, with the figure that is over a limit."""

    def __init__(self, reason: str, given: float | str = 0.0):
        super().__init__(reason)
        self.reason, self.given = reason, given


def refuse(name: str, reason: str, given: float | str = 0.0) -> NoReturn:
    """Raise the Refusal for a reason of the table, about the file shown as `name` (never its folder)."""
    wrong, advice = REASONS[reason]
    raise Refusal(f"{name} is not a video this app can read ({wrong.format(given=given)}). Accepted: {FORMATS}. {advice}")
