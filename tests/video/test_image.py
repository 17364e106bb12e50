"""Picture files to pixels: each format, what is turned, transparent or deep, and what is refused, in which sentence."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import aim
from aim.kernels.refusal import Refusal
from aim.video.intake import still
from aim.video.intake.refusals import Refused

GENERATOR = np.random.default_rng(0)
SMOOTH = np.asarray(Image.fromarray(GENERATOR.integers(0, 256, (4, 6, 3), np.uint8)).resize((60, 40), Image.Resampling.BICUBIC))


def saved(path, picture=SMOOTH, **options):
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path, **options)
    return path


def decoded(path, kind, max_side=2048):
    """As the decoding process does it, here."""
    return still.read(str(path), kind, max_side)[0][0]


@pytest.mark.parametrize(("suffix", "kind", "off"), [("png", "PNG", 0), ("bmp", "BMP", 0), ("webp", "WEBP", 0), ("jpg", "JPEG", 12)])
def test_every_format_gives_its_pixels(tmp_path, suffix, kind, off):
    options = {"webp": {"lossless": True}, "jpg": {"quality": 98, "subsampling": 0}}.get(suffix, {})
    pixels = decoded(saved(tmp_path / f"a.{suffix}", **options), kind)
    assert pixels.dtype == np.uint8 and pixels.shape == SMOOTH.shape
    assert np.abs(pixels.astype(int) - SMOOTH).max() <= off


def test_a_picture_is_a_clip_of_one_frame_read_in_the_decoding_process(tmp_path):
    picture = aim.read_media(saved(tmp_path / "named.mp4.png"))
    assert picture.is_image and picture.frames.shape == (1, 40, 60, 3)
    assert np.array_equal(picture.frames[0], SMOOTH)
    assert picture.timestamps.tolist() == [0] and picture.duration == 0 and picture.decode_seconds > 0
    assert picture.digest == aim.image_from_pixels(SMOOTH).digest


@pytest.mark.parametrize("orientation", range(1, 9))
def test_it_is_turned_as_its_exif_says(tmp_path, orientation):
    # What a camera stores for an upright scene, by the eight cases of the EXIF standard, as turns of the stored picture.
    stored = {
        1: SMOOTH,
        2: SMOOTH[:, ::-1],
        3: SMOOTH[::-1, ::-1],
        4: SMOOTH[::-1],
        5: SMOOTH.transpose(1, 0, 2),
        6: np.rot90(SMOOTH, 1),
        7: SMOOTH[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(SMOOTH, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "turned.png", np.ascontiguousarray(stored), exif=exif)
    assert np.array_equal(decoded(path, "PNG"), SMOOTH)


@pytest.mark.parametrize(("suffix", "kind"), [("png", "PNG"), ("webp", "WEBP"), ("jpg", "JPEG")])
@pytest.mark.parametrize("entry", [b"garbage", b"Exif\0\0garbage", b"II*\0\x08\0\0\0\xff\xff\x12\x01", b"Exif\0\0"], ids=repr)
def test_a_picture_whose_exif_cannot_be_read_is_shown_as_it_is(tmp_path, suffix, kind, entry):
    options = {"webp": {"lossless": True}, "jpg": {"quality": 98, "subsampling": 0}}.get(suffix, {})
    pixels = decoded(saved(tmp_path / f"a.{suffix}", exif=entry, **options), kind)
    assert np.abs(pixels.astype(int) - SMOOTH).max() <= 12


@pytest.mark.parametrize("place", ["zTXt", "iTXt", "tEXt"])
def test_a_long_text_beside_the_pixels_is_no_damage(tmp_path, place):
    words, text = PngInfo(), "a" * 3_000_000
    if place == "iTXt":
        words.add_itxt("workflow", text, zip=True)
    else:
        words.add_text("workflow", text, zip=place == "zTXt")
    assert np.array_equal(decoded(saved(tmp_path / "a.png", pnginfo=words), "PNG"), SMOOTH)


def test_what_is_transparent_is_white(tmp_path):
    layered = np.dstack([SMOOTH, np.full(SMOOTH.shape[:2], 255, np.uint8)])
    layered[:20, :, 3] = 0
    layered[20:30, :, 3] = 51
    pixels = decoded(saved(tmp_path / "a.png", layered), "PNG")
    assert (pixels[:20] == 255).all() and np.array_equal(pixels[30:], SMOOTH[30:])
    assert np.abs(pixels[20:30] - (0.8 * 255 + 0.2 * SMOOTH[20:30])).max() <= 1
    palette = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    palette.putpalette([200, 0, 0, 0, 0, 200])
    assert decoded(saved(tmp_path / "b.png", palette, transparency=0), "PNG").tolist() == [[[255, 255, 255], [0, 0, 200]]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "CMYK"])
def test_other_modes_become_rgb(tmp_path, mode):
    picture = Image.fromarray(SMOOTH).convert(mode)
    kind, suffix = ("JPEG", "jpg") if mode == "CMYK" else ("PNG", "png")
    pixels = decoded(saved(tmp_path / f"a.{suffix}", picture), kind)
    assert np.abs(pixels.astype(int) - np.asarray(picture.convert("RGB"))).max() <= (16 if mode == "CMYK" else 0)


def test_sixteen_bits_of_grey_become_eight(tmp_path):
    grey = (np.arange(6, dtype=np.uint16) * 13000).reshape(2, 3)
    assert decoded(saved(tmp_path / "a.png", grey), "PNG")[..., 0].tolist() == (grey >> 8).tolist()


@pytest.mark.parametrize(("side", "shape"), [(2048, (40, 60)), (60, (40, 60)), (30, (20, 30)), (16, (10, 16))])
def test_a_large_picture_is_reduced_in_proportion(tmp_path, side, shape):
    pixels = decoded(saved(tmp_path / "a.png"), "PNG", side)
    assert pixels.shape[:2] == shape
    expected = np.asarray(Image.fromarray(SMOOTH).resize(shape[::-1], Image.Resampling.BICUBIC))
    assert np.abs(pixels.astype(int) - expected).max() <= 8


def test_a_huge_jpeg_is_reduced_while_it_is_decoded(tmp_path):
    path = saved(tmp_path / "a.jpg", Image.fromarray(SMOOTH).resize((3000, 2000)), quality=95)
    pixels = decoded(path, "JPEG", 60)
    assert pixels.shape == (40, 60, 3) and np.abs(pixels.astype(int) - SMOOTH).max() <= 24


def test_an_animated_gif_stays_a_video(tmp_path):
    shades = [Image.fromarray(np.full((20, 20), 80 * number, np.uint8)) for number in range(3)]
    path = saved(tmp_path / "a.gif", shades[0], save_all=True, append_images=shades[1:], duration=100)
    clip = aim.read_media(path, num_frames=3)
    assert not clip.is_image and len(clip.frames) == 3


def bomb() -> bytes:
    """A PNG of 60,000 x 60,000 pixels in a few bytes."""
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


def written(**options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(SMOOTH).save(buffer, **options)
    return buffer.getvalue()


REFUSED = {
    "phone.heic": (b"\0\0\0\x18ftypheic" + bytes(80), "it is a HEIC or AVIF picture"),
    "new.jpg": (b"\0\0\0\x18ftypavif" + bytes(80), "it is a HEIC or AVIF picture"),
    "scan.tiff": (b"II*\0" + bytes(80), "its content is in none of the accepted formats"),
    "cut.png": (written(format="PNG")[:200], "it is damaged or incomplete"),
    "cut.jpg": (written(format="JPEG")[:400], "it is damaged or incomplete"),
    "bomb.png": (bomb(), "it has 3,600 megapixels and the limit is 100 megapixels"),
    "moves.webp": (
        written(format="WEBP", save_all=True, append_images=[Image.fromarray(255 - SMOOTH)], duration=100),
        "it moves",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_in_one_sentence(tmp_path, name):
    content, reason = REFUSED[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Refusal) as caught:
        aim.read_media(tmp_path / name)
    message = str(caught.value)
    assert message.startswith(f"{name} is not a picture this app can read ({reason}")
    assert "Accepted: JPEG, PNG, WebP, BMP. " in message and message.endswith(".") and str(tmp_path) not in message
    assert caught.value.__cause__ is None and caught.value.__context__ is None


def test_no_picture_is_refused(tmp_path):
    (tmp_path / "notes.png").write_text("only words")
    (tmp_path / "nothing.png").write_bytes(b"")
    for given, reason in (
        (tmp_path / "notes.png", "none of the accepted formats"),
        (tmp_path / "nothing.png", "it is empty"),
        (tmp_path / "gone.png", "there is no such file"),
        ("https://example.org/a.png", "it is a link"),
        ("", "it is no file name"),
        (3, "it is a int"),
    ):
        with pytest.raises(Refusal, match="is not a picture this app can read") as caught:
            aim.read_image(given)
        assert reason in str(caught.value) and "MP4" not in str(caught.value)


@pytest.mark.parametrize("side", [0, 15, 60.5, "60", True])
def test_a_side_that_is_no_number_of_pixels_is_refused(side):
    with pytest.raises(Refusal, match="max_side is"):
        aim.read_image("any.png", side)


@pytest.mark.parametrize(
    "pixels", [SMOOTH.astype(float), SMOOTH[None], SMOOTH[..., :2], SMOOTH[:0], "a.png"], ids=["floats", "clip", "two", "empty", "name"]
)
def test_pixels_of_another_kind_are_refused(pixels):
    with pytest.raises(Refusal, match="pixels is .*; accepted: a NumPy array"):
        aim.image_from_pixels(pixels)


def test_nonsense_behind_a_right_beginning_ends_in_a_refusal_and_in_nothing_else(tmp_path):
    starts = {"PNG": written(format="PNG"), "JPEG": written(format="JPEG"), "WEBP": written(format="WEBP"), "BMP": written(format="BMP")}
    for kind, whole in starts.items():
        for seed in range(25):
            content = bytearray(whole)
            for place in np.random.default_rng(seed).integers(8, len(content), 12):
                content[place] = seed * 10
            (tmp_path / "a").write_bytes(content)
            try:
                assert decoded(tmp_path / "a", kind).shape[2] == 3
            except Refused as refused:
                assert refused.reason in ("damaged", "picture megapixels", "moving picture")
