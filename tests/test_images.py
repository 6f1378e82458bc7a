"""Images as people have them: fitted by a named rule, or refused in one line."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from dynamicrafter.errors import InputError
from dynamicrafter.images import as_image, fit, open_image


def halves(height, width):
    """Left half black, right half white."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:, width // 2 :] = 255
    return picture


def test_crop_keeps_the_centre():
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 20:40] = 255
    assert (fit(wide, (20, 20)) == 255).all()
    assert fit(np.zeros((301, 77, 3), np.uint8), (64, 128)).shape == (64, 128, 3)


def test_pad_keeps_everything_between_black_bars():
    padded = fit(np.full((20, 60, 3), 255, np.uint8), (60, 60), "pad")
    assert (padded[20:40] == 255).all()
    assert padded[:20].max() == padded[40:].max() == 0
    assert fit(np.full((301, 77, 3), 255, np.uint8), (64, 128), "pad").shape == (64, 128, 3)


def test_stretch_fills_the_size():
    found = fit(halves(20, 60), (40, 40), "stretch")
    assert found[:, :18].max() < 5
    assert found[:, 22:].min() > 250


def test_an_unknown_rule_is_refused():
    with pytest.raises(InputError, match="fit=zoom; choose crop, pad, stretch"):
        fit(halves(20, 20), (16, 16), "zoom")


def test_exif_orientation_is_followed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(halves(20, 40)).save(tmp_path / "a.jpg", exif=exif, quality=95)
    upright = open_image(tmp_path / "a.jpg")
    assert upright.shape == (40, 20, 3)
    assert upright[:15].max() < 40
    assert upright[25:].min() > 215


@pytest.mark.parametrize(("mode", "value"), [("L", 100), ("P", 3), ("1", 1)])
def test_grey_and_palette_become_rgb(tmp_path, mode, value):
    Image.new(mode, (30, 20), value).save(tmp_path / "a.png")
    expected = np.array(Image.open(tmp_path / "a.png").convert("RGB"))
    assert np.array_equal(open_image(tmp_path / "a.png"), expected)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_an_alpha_channel_needs_a_background(tmp_path, mode):
    colour = (255, 0, 0, 0) if mode == "RGBA" else (255, 0)
    Image.new(mode, (30, 20), colour).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png has an alpha channel; pass background=white"):
        open_image(tmp_path / "a.png")
    assert (open_image(tmp_path / "a.png", "#102030") == (16, 32, 48)).all()
    with pytest.raises(InputError, match="background=nocolour is no colour"):
        open_image(tmp_path / "a.png", "nocolour")


def test_a_transparent_palette_counts_as_alpha(tmp_path):
    Image.new("P", (30, 20), 3).save(tmp_path / "a.png", transparency=3)
    with pytest.raises(InputError, match="alpha channel"):
        open_image(tmp_path / "a.png")


@pytest.mark.parametrize(("mode", "suffix"), [("CMYK", "jpg"), ("I;16", "png")])
def test_colours_that_would_have_to_be_guessed_are_refused(tmp_path, mode, suffix):
    Image.new(mode, (30, 20)).save(tmp_path / f"a.{suffix}")
    with pytest.raises(InputError, match=rf"a\.{suffix} has colours of mode {mode[0]}"):
        open_image(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("size", [(1, 1), (15, 100), (12000, 200)])
def test_what_is_no_picture_is_refused(tmp_path, size):
    Image.new("RGB", size).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=rf"a\.png: {size[0]}x{size[1]} pixels"):
        open_image(tmp_path / "a.png")


def png(width, height):
    """A PNG of zeros that is small as a file, whatever its size is."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(min(height * (3 * width + 1), 1 << 20)))
    parts = [
        b"\x89PNG\r\n\x1a\n",
        chunk(b"IHDR", header),
        chunk(b"IDAT", rows),
        chunk(b"IEND", b""),
    ]
    return b"".join(parts)


@pytest.mark.parametrize(
    ("side", "said"), [(10_000, "more than the 64000000"), (60_000, "far more")]
)
def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, side, said):
    (tmp_path / "bomb.png").write_bytes(png(side, side))
    with pytest.raises(InputError, match=said):
        open_image(tmp_path / "bomb.png")


def whole_png():
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html></html>",
        b"\x89PNG\r\n\x1a\n" + bytes(20),
        whole_png()[:6000],
        whole_png()[:200] + b"\xff" * 3000 + whole_png()[3200:],
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n",
        b"GIF89a" + bytes(100),
    ],
    ids=["empty", "html", "torn-header", "cut", "corrupt", "postscript", "gif"],
)
def test_broken_and_foreign_files_are_named(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.png is no readable image") as caught:
        open_image(tmp_path / "a.png")
    assert "\n" not in str(caught.value)


def test_what_the_api_takes(tmp_path):
    picture = halves(20, 30)
    Image.fromarray(picture).save(tmp_path / "a.png")
    for given in (picture, Image.fromarray(picture), str(tmp_path / "a.png"), tmp_path / "a.png"):
        assert np.array_equal(as_image(given), picture)
    for wrong in (picture.astype(np.float32), picture[..., 0], None, 3):
        with pytest.raises(InputError, match="the image is a"):
            as_image(wrong)
