"""What a visitor can find out beyond the answer: what a word looked at, and what the model says without a part of the clip."""

from __future__ import annotations

import re

import pytest
from PIL import Image

import aim
from tests.visitor import EXAMPLES, examples, needs_browser

pytestmark = needs_browser


def test_a_word_of_the_answer_shows_what_it_looked_at_and_the_next_best_words(visit):
    visitor = visit()
    visitor.run()
    canvas = visitor.tab.locator("#screen .aim-x-large")
    before = canvas.evaluate("canvas => canvas.toDataURL()")
    word = visitor.tab.locator(".aim-answer .aim-word").first
    word.click()
    told = visitor.text(".aim-instead")
    assert re.search(r"“\w+” [\d.]+ %\. Next best: “\w+” .*%", told) and "looked at" in told
    visitor.tab.locator("#screen .aim-x-sheet[aria-busy=false]").wait_for()
    assert canvas.evaluate("canvas => canvas.toDataURL()") != before
    assert visitor.tab.locator("#screen .aim-x-choices input[value=word]").is_checked()
    word.click()
    visitor.tab.locator(".aim-instead").wait_for(state="hidden")


def test_patches_are_painted_and_the_model_is_asked_without_them_and_with_all_of_them(visit):
    visitor = visit()
    visitor.run()
    visitor.tab.get_by_role("button", name="Paint").click()
    canvas = visitor.tab.locator("#screen .aim-x-large")
    box = canvas.bounding_box()
    visitor.tab.mouse.move(box["x"] + 0.7 * box["width"], box["y"] + 0.1 * box["height"])
    visitor.tab.mouse.down()
    visitor.tab.mouse.move(box["x"] + 0.95 * box["width"], box["y"] + 0.4 * box["height"], steps=4)
    visitor.tab.mouse.up()
    visitor.tab.get_by_role("button", name="Ask without").click()
    visitor.wait_for_text(".aim-x-answered", "patches the full model says")
    said = visitor.answer()
    for frame in range(int(visitor.knob("frames"))):
        visitor.tab.locator("#screen .aim-x-thumb").nth(frame).click()
        visitor.tab.get_by_role("button", name="+ this moment").click()
    visitor.tab.get_by_role("button", name="Ask without").click()
    visitor.wait_for_text(".aim-x-answered", "Not run: The mask leaves no visual token")
    assert visitor.answer() == said and not visitor.tab.locator(".aim-veil").is_visible()
    visitor.run()
    assert visitor.answer() == said


def test_the_tour_sets_knobs_and_view_and_its_last_step_breaks_the_answer(visit):
    visitor = visit()
    visitor.settled()
    for step, ratio, view in ((1, 0.25, "merged"), (2, 0.25, "survival"), (3, 0.06, "merged")):
        visitor.tab.locator(f"#tour-{step}").click()
        visitor.wait_for_knob("merge-ratio", ratio)
        visitor.settled()
        assert visitor.tab.locator(f"#screen .aim-x-choices input[value={view}]").is_checked()
        assert visitor.text(".aim-lesson").startswith(("Merging", "Dropping", "Breaking")[step - 1])
    visitor.wait_for_text(".aim-verdict", "✗ the full model says")


@pytest.mark.long
def test_a_picture_is_asked_about_as_one_frame_and_a_still_stands_in_for_the_preview(visit, tmp_path):
    frames = aim.read_video(EXAMPLES / examples()[0]["file"], num_frames=4).frames
    Image.fromarray(frames[2]).save(tmp_path / "picture.png")
    visitor = visit()
    visitor.upload(tmp_path / "picture.png")
    visitor.question.fill("What color is the star?")
    visitor.run()
    assert re.fullmatch(r"\d+ patches in \d+ tokens", visitor.tab.locator("#screen .aim-x-caption").inner_text())
    for of_time in ("#screen .aim-x-thumb", "#screen input.aim-x-frame", "text=+ this moment"):  # a picture has one moment
        assert not visitor.tab.locator(of_time).is_visible()
    visitor.tab.get_by_role("tab", name="Moments").click()
    visitor.wait_for_text("#timeline .aim-x-said", "A picture, or a single frame, has one moment.")
    clip = aim.read_image(tmp_path / "picture.png")
    assert visitor.answer() == aim.load("bundled").ask(clip, "What color is the star?", aim.AIM(), max_new_tokens=8).text
    visitor.tab.locator(".aim-still").wait_for()
    assert not visitor.tab.locator("#preview-hint p").is_visible() and visitor.tab.locator(".toast-body").count() == 0


@pytest.mark.long
def test_share_gives_a_link_to_what_is_shown_a_picture_and_an_animation(visit):
    visitor = visit()
    visitor.settled()
    visitor.set("merge-ratio", 0.5)
    visitor.settled()
    visitor.tab.get_by_role("button", name="Share").click()
    visitor.tab.locator(".aim-share-files a").first.wait_for()
    for button, kind, frames in (("Save picture", "PNG", 1), ("Save animation", "WEBP", 4)):
        with Image.open(visitor.download(f".aim-share-files >> text={button}")) as picture:
            assert picture.format == kind and getattr(picture, "n_frames", 1) >= frames
    link = visitor.tab.get_by_label("Link to this run").first.input_value()
    assert link.startswith(f"{visitor.address}?") and "merge_ratio=0.5&" in link and f"example={examples()[0]['file']}" in link
    visitor.tab.keyboard.press("Escape")
    visitor.tab.locator("dialog.aim-share-window").wait_for(state="hidden")
