"""Every common kind of picture file, generated: the expected picture, or one line."""

import io
import os
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, PngImagePlugin

from unroll.data import images
from unroll.errors import UserError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        images.load(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


def saved(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)
    return path


def noise(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], bands), dtype=np.uint8)
    return Image.fromarray(values[..., 0] if bands == 1 else values)


def png_header(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "ppm", "webp", "gif", "jpg"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_formats_and_modes(tmp_path: Path, suffix: str, mode: str) -> None:
    path = saved(tmp_path / f"a.{suffix}", Image.new("RGB", (5, 3), (200, 100, 50)))
    image = images.load(path, mode)  # type: ignore[arg-type]
    assert (image.mode, image.size) == (mode, (5, 3))
    wanted = Image.new("RGB", (5, 3), (200, 100, 50)).convert(mode)
    assert np.abs(np.asarray(image).astype(int) - np.asarray(wanted)).max() <= 8  # lossy formats


def test_grey_is_kept_exactly(tmp_path: Path) -> None:
    image = noise("L")
    assert np.array_equal(images.load(saved(tmp_path / "a.png", image), "L"), image)


def test_exif_rotation_is_applied(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 2), RED)
    image.paste(BLUE, (0, 0, 1, 2))  # blue at the left; turned clockwise by a quarter, it is on top
    exif = Image.Exif()
    exif[0x0112] = 6
    found = images.load(saved(tmp_path / "a.png", image, exif=exif))
    assert found.size == (2, 4)
    assert found.getpixel((0, 0)) == BLUE
    assert found.getpixel((0, 3)) == RED


def test_garbage_in_exif_does_not_cost_the_picture(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", Image.new("RGB", (4, 2), RED), exif=b"Exif\0\0nonsense, not a TIFF header")
    assert images.load(path).size == (4, 2)


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (3, 3), colour) for colour in (GREEN, RED, BLUE)]
    for suffix in ("gif", "png", "tif"):
        path = saved(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:])
        assert images.load(path).getpixel((1, 1)) == GREEN


def test_cmyk(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", Image.new("CMYK", (8, 8), (0, 255, 255, 0)), quality=95)
    red, green, blue = images.load(path).getpixel((4, 4))
    assert red > 240
    assert max(green, blue) < 20
    assert 60 < images.load(path, "L").getpixel((4, 4)) < 90


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_laid_over_white(tmp_path: Path, mode: str) -> None:
    image = Image.new(mode, (2, 1), (0,) * len(mode))
    image.putpixel((1, 0), (0,) * (len(mode) - 1) + (255,))
    path = saved(tmp_path / "a.png", image)
    assert images.pixels(images.load(path)).tolist() == [[[255] * 3, [0] * 3]]
    assert images.pixels(images.load(path, "L")).tolist() == [[255, 0]]


def test_palette_with_and_without_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 0), 1)
    plain = saved(tmp_path / "plain.png", image)
    clear = saved(tmp_path / "clear.png", image, transparency=0)
    several = saved(tmp_path / "several.png", image, transparency=bytes([0, 255]))
    assert images.pixels(images.load(plain)).tolist() == [[list(RED), list(BLUE)]]
    for path in (clear, several):
        assert images.pixels(images.load(path)).tolist() == [[list(WHITE), list(BLUE)]]


def test_transparent_grey_value(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[7, 9]], np.uint8))
    path = saved(tmp_path / "a.png", image, transparency=7)
    assert images.pixels(images.load(path, "L")).tolist() == [[255, 9]]


def test_sixteen_bits_are_scaled_not_cut_off(tmp_path: Path) -> None:
    values = np.array([[0, 257, 25700, 65535]], np.uint16)
    for suffix in ("png", "tif"):
        path = saved(tmp_path / f"a.{suffix}", Image.fromarray(values))
        assert images.pixels(images.load(path, "L")).tolist() == [[0, 1, 100, 255]]
        assert images.load(path).mode == "RGB"


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        (np.array([[0, 514, 65535]], np.int32), [0, 2, 255]),
        (np.array([[-5, 500_000, 1_000_000]], np.int32), [0, 128, 255]),
        (np.array([[0.0, 0.5, 1.0]], np.float32), [0, 128, 255]),
        (np.array([[np.nan, 100.0, 255.0]], np.float32), [0, 100, 255]),
    ],
)
def test_wide_grey(tmp_path: Path, values: np.ndarray, wanted: list[int]) -> None:
    path = saved(tmp_path / "a.tif", Image.fromarray(values))
    assert images.pixels(images.load(path, "L")).tolist() == [wanted]


def test_one_bit(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(np.array([[False, True]])))
    assert images.pixels(images.load(path, "L")).tolist() == [[0, 255]]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_one_pixel(tmp_path: Path, mode: str) -> None:
    path = saved(tmp_path / "a.png", Image.new(mode, (1, 1)))
    assert images.pixels(images.load(path), (4, 6)).shape == (4, 6, 3)


def test_missing_folder_and_empty(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.png")
    assert "is a folder" in refused(tmp_path)
    (tmp_path / "empty.png").touch()
    assert "empty (0 bytes)" in refused(tmp_path / "empty.png")


def test_not_a_picture(tmp_path: Path) -> None:
    for name, content in (("a.png", b"<html>not found</html>"), ("b.jpg", b"\xff\xd8"), ("c.txt", b"hello")):
        (tmp_path / name).write_bytes(content)
        assert "not a picture" in refused(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_not_readable(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", noise())
    path.chmod(0)
    assert "permission" in refused(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif", "webp"])
def test_truncated_anywhere(tmp_path: Path, suffix: str) -> None:
    buffer = io.BytesIO()
    noise().save(buffer, {"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix))
    content = buffer.getvalue()
    for share in (0.02, 0.1, 0.3, 0.6, 0.9):
        path = tmp_path / f"a{share}.{suffix}"
        path.write_bytes(content[: max(1, int(share * len(content)))])
        assert "truncated or damaged" in (text := refused(path)) or "not a picture" in text


def test_damaged_in_the_middle(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", noise())
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40] = b"\0" * 40
    path.write_bytes(content)
    assert "damaged" in refused(path)


@pytest.mark.parametrize("side", [7_100, 10_000, 14_000, 60_000])
def test_a_bomb_is_refused_by_its_header(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side))
    assert "pixels, more than 50,000,000" in refused(path)


def test_a_bomb_of_text_is_refused(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("comment", "a" * 5_000_000, zip=True)
    path = saved(tmp_path / "a.png", noise(), pnginfo=text)
    assert "damaged" in refused(path)


def test_pixels_cut_the_middle_and_average(tmp_path: Path) -> None:
    wide = Image.new("L", (30, 10), 0)
    wide.paste(200, (7, 0, 23, 10))
    assert images.pixels(wide).shape == (10, 30)
    assert images.pixels(wide, (5, 5)).tolist() == [[200] * 5] * 5  # the middle square, not the whole squeezed
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (64, 32)))
    assert np.abs(images.pixels(stripes, (8, 8)).astype(int) - 127).max() < 30  # no stripes survive: averaged


@pytest.mark.parametrize("name", ["a.png", "a.eps", "a.jpg"])
def test_what_would_start_another_program_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def started(*_: object, **__: object) -> None:
        raise AssertionError("another program was started")

    monkeypatch.setattr(subprocess, "Popen", started)
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", started)
    path = tmp_path / name
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n")
    assert "is not a picture of a kind that is read" in refused(path)


@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "TGA", "PCX", "ICO", "JPEG2000", "AVIF"]
)
def test_the_kinds_that_people_have_are_read_by_any_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.dat"
    Image.new("RGB", (32, 32), (200, 30, 30)).save(path, format=kind)
    assert abs(int(images.pixels(images.load(path))[16, 16, 0]) - 200) < 8


GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


@pytest.mark.parametrize(
    "given",
    [
        GREY, GREY[..., None], GREY.astype(np.int64), GREY.tolist(), GREY / 255.0, Image.fromarray(GREY),
        np.stack([GREY] * 3, -1), np.dstack([*[GREY] * 3, np.full_like(GREY, 255)]),
    ],
    ids=["uint8", "one channel", "int64", "lists", "fractions", "Pillow", "RGB", "RGBA"],
)  # fmt: skip
def test_a_picture_in_memory_is_that_of_the_file(given: Any, tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "grey.png")
    assert images.is_picture(given)
    for mode in ("L", "RGB"):
        wanted = images.pixels(images.load(tmp_path / "grey.png", mode))
        assert np.abs(images.pixels(images.taken(given, mode)).astype(int) - wanted).max() <= 1
    assert np.array_equal(images.pixels(images.taken(tmp_path / "grey.png", "L")), GREY)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (GREY.astype(int) * 3, "its integers lie between 0 and 756, not between 0 and 255"),
        (GREY / 10, "its fractions lie between 0.0 and 25.2, not between 0 and 1"),
        (np.full((2, 2), np.nan), "its fractions lie between nan and nan"),
        (-GREY.astype(int), "its integers lie between -252 and 0"),
        (np.zeros((0, 4)), r"has no pixels \[0, 4\]"),
    ],
)
def test_values_that_no_picture_has_are_one_line(given: Any, said: str) -> None:
    with pytest.raises(UserError, match=f"^input 1: {said}"):
        images.taken(given, name="input 1")


def test_a_picture_that_was_opened_and_not_yet_read_is_one_line_when_it_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with Image.open(path) as opened, pytest.raises(UserError, match="input 1: cannot be read"):
        images.taken(opened, name="input 1")


@pytest.mark.parametrize(
    "given", [b"", np.zeros(4), np.zeros((3, 8, 8)), np.zeros((2, 2), complex), [[1, 2], [3]], "x"]
)
def test_what_is_no_picture(given: Any) -> None:
    assert not images.is_picture(given)
