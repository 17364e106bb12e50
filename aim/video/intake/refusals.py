"""Why a video or picture is refused: one table of reasons and advice, so that a decoding process can only choose a sentence."""

from __future__ import annotations

from typing import NoReturn

from aim.kernels.refusal import Refusal
from aim.video.intake.limits import (
    FORMATS,
    MAX_GIGABYTES_TO_READ,
    MAX_HOURS,
    MAX_MEGABYTES,
    MAX_MEGAPIXELS,
    MAX_PICTURE_MEGAPIXELS,
    MAX_SECONDS_TO_READ,
    PICTURE_FORMATS,
)

CONVERT = "Convert it to MP4 (H.264) and upload again."
SMALLER = "Cut it or make it smaller (1080p is plenty), as MP4 (H.264), and upload again."
UPLOAD_AGAIN = "Upload it again, or export it as MP4 (H.264)."
RENAME = "Rename it to clip.mp4 and upload again."
SAVE_AGAIN = "Save it as JPEG or PNG and upload that."
SAVE_SMALLER = "Make it smaller, as JPEG or PNG, and upload that."
RECORD_AGAIN = "Export or record it again, as MP4 (H.264), and upload the new file."

# reason → (what is wrong, what to do)
REASONS = {
    "no path": ("it is a {given}", "Upload a file."),
    "no name": ("it is no file name", "Upload a file."),
    "link": ("it is a link", "Download it and upload the file."),
    "folder": ("it is a folder", "Give one of the files in it."),
    "missing": ("there is no such file, or it may not be opened", "Check its name and upload it again."),
    "unspeakable name": ("its name holds characters that no decoder takes", RENAME),
    "empty": ("it is empty", UPLOAD_AGAIN),
    "unknown format": ("its content is in none of the accepted formats, whatever its name says", CONVERT),
    "megabytes": (f"it has {{given:,.0f}} MB and the limit is {MAX_MEGABYTES:,} MB", SMALLER),
    "hours": (f"it lasts {{given:,.1f}} hours and the limit is {MAX_HOURS} hours", "Cut it and upload the part you ask about."),
    "megapixels": (f"its frames have {{given:,.0f}} megapixels and the limit is {MAX_MEGAPIXELS} megapixels", SMALLER),
    "time": (f"reading it takes longer than the limit of {MAX_SECONDS_TO_READ} seconds", SMALLER),
    "memory": (f"reading it takes more memory than the limit of {MAX_GIGABYTES_TO_READ} GB", SMALLER),
    "no track": ("there is no video track in it, only sound, a cover picture or nothing", CONVERT),
    "no decoder": ("its video is in a codec that cannot be decoded here", CONVERT),
    "edited": ("its frames have no times, which would tell the ones that are shown", RECORD_AGAIN),
    "damaged": ("it is damaged or incomplete", RECORD_AGAIN),
    "stopped": ("reading it was stopped", "Press Run to read it again."),
    "unknown picture": ("its content is in none of the accepted formats, whatever its name says", SAVE_AGAIN),
    "phone picture": ("it is a HEIC or AVIF picture", SAVE_AGAIN),
    "moving picture": ("it moves", "Save it as GIF or MP4 to ask about it as a video, or save one still of it as PNG."),
    "picture megapixels": (f"it has {{given:,.0f}} megapixels and the limit is {MAX_PICTURE_MEGAPIXELS} megapixels", SAVE_SMALLER),
    "crash": ("the decoder breaks down on it, so it is damaged or not what it claims to be", RECORD_AGAIN),
}


class Refused(Exception):
    """A reason of the table, with the figure that is over a limit."""

    def __init__(self, reason: str, given: float | str = 0.0):
        super().__init__(reason)
        self.reason, self.given = reason, given


# What to do where a picture is refused for a reason that videos have too.
PICTURE_ADVICE = {
    SMALLER: SAVE_SMALLER,
    CONVERT: SAVE_AGAIN,
    RECORD_AGAIN: SAVE_AGAIN,
    UPLOAD_AGAIN: SAVE_AGAIN,
    RENAME: "Rename it to picture.png and upload again.",
}


def refuse(name: str, reason: str, given: float | str = 0.0, picture: bool = False) -> NoReturn:
    """Raise the Refusal for a reason of the table, about the file shown as `name` (never its folder), which was to be a `picture`."""
    wrong, advice = REASONS[reason]
    if picture:
        advice = PICTURE_ADVICE.get(advice, advice)
        raise Refusal(f"{name} is not a picture this app can read ({wrong.format(given=given)}). Accepted: {PICTURE_FORMATS}. {advice}")
    raise Refusal(f"{name} is not a video this app can read ({wrong.format(given=given)}). Accepted: {FORMATS}. {advice}")
