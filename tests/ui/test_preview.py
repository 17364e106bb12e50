"""A clip that the app reads and the browser cannot play: a hint beside the preview, no error, and a run that works. A picture is drawn."""

from __future__ import annotations

import pytest
from PIL import Image

from tests.clips import encode
from tests.visitor import examples, needs_browser

pytestmark = needs_browser
# The suffix, and the codec in it.
UNSHOWN = {"as OpenCV writes MP4": ("mp4", "mpeg4"), "AVI": ("avi", "mjpeg"), "MPG": ("mpg", "mpeg2video")}


# The first kind in CI, its neighbours by hand.
@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        pytest.param(*kind, id=name, marks=pytest.mark.every if place else pytest.mark.long)
        for place, (name, kind) in enumerate(UNSHOWN.items())
    ],
)
def test_a_clip_that_the_browser_cannot_play_is_run_without_an_error_and_with_a_hint(visit, tmp_path, suffix, codec):
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = encode(tmp_path / f"clip.{suffix}", codec=codec, pixels=pixels, rate=25, b_frames=0)
    visitor = visit()
    hint = visitor.tab.locator("#preview-hint")
    assert not hint.is_visible()
    place = visitor.tab.locator("#status").bounding_box()["y"]
    visitor.upload(path)
    visitor.question.fill("What color is the circle?")
    hint.filter(has_text="Run still works if the app can read").wait_for()
    assert visitor.tab.locator("#status").bounding_box()["y"] == place  # the hint moves nothing
    visitor.run()
    assert visitor.answer() and visitor.tab.locator(".toast-body").count() == 0 and hint.is_visible()
    visitor.pick_example(1)
    hint.wait_for(state="hidden")
    visitor.run()
    assert visitor.answer() == examples()[1]["answer"] and visitor.tab.locator(".toast-body").count() == 0


def test_a_clip_that_the_browser_plays_has_no_hint_and_a_cleared_one_takes_its_hint_along(visit, own_clip, tmp_path):
    visitor = visit()
    visitor.upload(own_clip)
    visitor.tab.wait_for_function("document.querySelector('#video video').readyState > 0")
    hint = visitor.tab.locator("#preview-hint")
    assert not hint.is_visible()
    visitor.upload(encode(tmp_path / "clip.avi", codec="mpeg4", b_frames=0))
    hint.wait_for()
    visitor.pick_example(0)
    hint.wait_for(state="hidden")


@pytest.mark.whole
def test_a_picture_is_seen_before_any_run(visit, tmp_path):
    Image.new("RGB", (64, 48), (250, 10, 10)).save(tmp_path / "red.png")
    visitor = visit()
    visitor.upload(tmp_path / "red.png")
    still = visitor.tab.locator("#preview-hint canvas")
    still.wait_for()
    assert still.evaluate("canvas => [canvas.width, canvas.height, ...canvas.getContext('2d').getImageData(9, 9, 1, 1).data]") == [
        *(64, 48),
        *(250, 10, 10, 255),
    ]
