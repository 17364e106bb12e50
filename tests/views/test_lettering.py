"""Text on pictures: every script and every oddity is written or replaced, wrapped within its width, and nothing fails."""

import pytest
from PIL import Image, ImageDraw

from aim.views import lettering
from aim.views.lettering import MISSING, font, legible, length, wrapped, write

ODD = ["e\u0301", "متى يظهر المثلث؟", "三角形はいつ", "😀🎉👨‍👩‍👧", "a\x00b\u202ec\ud800", "", " \n\t ", "नमस्ते", "\U0010ffff", "\ufe0f"]


def test_marks_that_every_picture_needs_have_glyphs_in_the_font_that_comes_along():
    text = "→ · × ✓ ✗ – … ≤ é ß Ж λ א ع"
    assert legible(text) == text
    assert font(text, 20).path == lettering.BUNDLED and "assets" in lettering.BUNDLED


@pytest.mark.parametrize("text", ODD)
def test_what_cannot_be_written_is_replaced_and_controls_are_left_out(text):
    shown = legible(text)
    assert all(lettering._has(font(shown, 20).path, letter) for letter in shown)
    assert not set(shown) & set("\x00\u202e\ud800\u200d\ufe0f\n\t")


def test_a_missing_glyph_is_a_box_and_an_accent_is_joined_to_its_letter():
    assert legible("e\u0301") == "é"
    assert legible("漢 a") in (f"{MISSING} a", "漢 a")  # some machine may have a font for it
    assert legible("a\ud800b") == "ab" and legible("one\n two") == "one two"


def test_a_font_of_the_machine_writes_what_the_bundled_one_cannot(monkeypatch):
    monkeypatch.setattr(lettering, "_has", lambda name, letter: letter != "漢" or name == "other")
    real = lettering._load(lettering.BUNDLED, 20)
    monkeypatch.setattr(lettering, "INSTALLED", ("absent", "other"))
    monkeypatch.setattr(lettering, "_load", lambda name, size: None if name == "absent" else real)
    assert lettering._face("漢") == "other" and lettering._face("a") == lettering.BUNDLED
    assert legible("漢a") == "漢a"
    monkeypatch.setattr(lettering, "INSTALLED", ("absent",))
    assert legible("漢a") == f"{MISSING}a"


@pytest.mark.parametrize("text", ["When does the triangle appear? " * 20, "x" * 500, "متى يظهر المثلث؟ " * 30, "a b", *ODD])
@pytest.mark.parametrize("width", [60, 300])
def test_lines_fit_and_hold_the_beginning_of_the_text(text, width):
    lines = wrapped(text, 18, width, 4)
    assert 1 <= len(lines) <= 4
    assert all(length(line, 18) <= width for line in lines)
    whole = legible(text)
    written = "".join(lines).replace(" ", "").removesuffix("…")
    assert whole.replace(" ", "").startswith(written)
    if length(whole, 18) <= width:
        assert lines == [whole]
    elif len(lines) < 4:
        assert written == whole.replace(" ", "")


def test_lines_break_between_words_where_they_can():
    lines = wrapped("When does the red triangle appear?", 18, 160, 5)
    assert " ".join(lines) == "When does the red triangle appear?" and len(lines) > 1


@pytest.mark.parametrize(("text", "side"), [("When?", "left"), ("مثلث", "right"), ("מתי?", "right")])
def test_text_begins_at_the_side_its_script_does(text, side):
    picture = Image.new("L", (400, 60), 255)
    below = write(ImageDraw.Draw(picture), (10, 10), text, 20, 0, 380)
    left, _, right, _ = picture.point(lambda value: 255 - value).getbbox()
    assert below == 10 + 26
    assert (left < 30) == (side == "left") and (right > 370) == (side == "right")
