"""Every kind of image file as RGB planes, and every kind of damage as one reason."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from poolwise.embed.decode import Decoded, decode, quiet_pillow
from poolwise.embed.errors import ImageError
from poolwise.embed.sources import image_file


def read(path: Path, *, max_side: int = 0, limit_pixels: int = 10**8) -> Decoded:
    with quiet_pillow():
        return decode(image_file(str(path)), max_side=max_side, limit_pixels=limit_pixels)


def picture(width: int = 24, height: int = 16) -> Image.Image:
    """Left half red, right half blue, top row white: any turn or mix-up shows."""
    image = Image.new("RGB", (width, height), (255, 0, 0))
    image.paste((0, 0, 255), (width // 2, 0, width, height))
    image.paste((255, 255, 255), (0, 0, width, height // 4))
    return image


EXACT = [("png", {}), ("bmp", {}), ("tiff", {}), ("webp", {"lossless": True}), ("gif", {})]


@pytest.mark.parametrize(("suffix", "options"), EXACT)
def test_lossless_formats_are_exact(tmp_path: Path, suffix: str, options: dict[str, bool]) -> None:
    path = tmp_path / f"a.{suffix}"
    picture().save(path, **options)
    rgb, width, height = read(path)
    assert (width, height) == (24, 16)
    assert rgb.dtype == np.float32
    assert rgb.flags.c_contiguous
    expected = np.asarray(picture(), np.float32).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(rgb, expected, atol=1e-6)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_of_every_mode(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.jpg"
    picture(64, 64).convert(mode).save(path, quality=95, subsampling=0)
    expected = picture(64, 64).convert(mode).convert("RGB")
    rgb, _, _ = read(path)
    assert np.abs(rgb - np.asarray(expected, np.float32).transpose(2, 0, 1) / 255).mean() < 0.02


@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, suffix: str, orientation: int) -> None:
    shown = picture(32, 16)
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the turn that undoes each
    stored = shown.transpose(Image.Transpose(back[orientation])) if orientation > 1 else shown
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a.{suffix}"
    options = {"quality": 95, "subsampling": 0} if suffix == "jpg" else {}
    stored.save(path, exif=exif, **options)
    for max_side in (0, 16):
        rgb, width, height = read(path, max_side=max_side)
        assert (width, height) == (32, 16)
        expected = shown.resize((16, 8), 2) if max_side else shown
        assert rgb.shape[1:] == expected.size[::-1]
        error = np.abs(rgb - np.asarray(expected, np.float32).transpose(2, 0, 1) / 255)
        assert error.mean() < 0.06


def test_16_bit_grey_keeps_its_scale(tmp_path: Path) -> None:
    values = np.linspace(0, 65535, 64 * 8).reshape(8, 64).astype(np.uint16)
    for suffix in ("png", "tiff"):
        path = tmp_path / f"a.{suffix}"
        Image.fromarray(values).save(path)
        rgb, _, _ = read(path)
        np.testing.assert_allclose(rgb, np.broadcast_to(values / 65535, (3, 8, 64)), atol=1e-6)
        assert read(path, max_side=16).rgb.shape == (3, 2, 16)
    dark = tmp_path / "dark.png"
    Image.fromarray(values // 256).save(dark)
    assert read(dark).rgb.max() < 0.005


def test_12_bit_and_inverted_tiff_use_the_range_of_the_file(tmp_path: Path) -> None:
    values = np.array([[0, 65535]], np.uint16)
    path = tmp_path / "a.tiff"
    Image.fromarray(values).save(path, tiffinfo={262: 0})
    np.testing.assert_allclose(read(path).rgb[0], [[1, 0]])


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_numbers_without_a_range_are_stretched(tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "a.tiff"
    values = np.array([[-100, 0], [100, 300]], dtype)
    Image.fromarray(values).save(path)
    np.testing.assert_allclose(read(path).rgb[1], [[0, 0.25], [0.5, 1]])


def test_floats_that_are_not_finite(tmp_path: Path) -> None:
    path = tmp_path / "a.tiff"
    Image.fromarray(np.array([[np.nan, 1], [np.inf, -np.inf], [3, 2]], np.float32)).save(path)
    np.testing.assert_allclose(read(path).rgb[0], [[0, 0], [1, 0], [1, 0.5]])
    Image.fromarray(np.full((2, 2), np.nan, np.float32)).save(path)
    assert (read(path).rgb == 0).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_over_white(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 255))
    image.paste((0, 0, 0, 0), (0, 0, 2, 4))
    path = tmp_path / "a.png"
    if mode == "P":
        image = Image.new("P", (4, 4), 0)
        image.putpalette([0, 0, 0, 9, 9, 9])
        image.putpixel((0, 0), 1)
        image.save(path, transparency=1)
        assert read(path).rgb[:, 0, 0].tolist() == [1, 1, 1]
    else:
        image.convert(mode).save(path)
        np.testing.assert_allclose(read(path).rgb[:, 0], [[1, 1, 0, 0]] * 3)


@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_simple_modes(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (3, 5), (255, 255, 255)).convert(mode).save(path)
    assert (read(path).rgb == 1).all()


def test_animations_give_their_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    for suffix in ("gif", "webp", "tiff", "png"):
        path = tmp_path / f"a.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        red, _, blue = read(path).rgb
        assert red.mean() > 0.9
        assert blue.mean() < 0.1


def test_max_side_shrinks_and_never_enlarges(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture(800, 200).save(path)
    rgb, width, height = read(path, max_side=100)
    assert rgb.shape == (3, 25, 100)
    assert (width, height) == (800, 200)
    assert read(path, max_side=1000).rgb.shape == (3, 200, 800)
    thin = tmp_path / "thin.png"
    picture(3000, 1).save(thin)
    assert read(thin, max_side=10).rgb.shape == (3, 1, 10)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def jpeg_bytes() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((200, 150), 50).convert("RGB").save(file, "JPEG")
    return file.getvalue()


DAMAGE = {
    "empty.jpg": (b"", "empty file"),
    "text.jpg": (b"hello, I am not an image\n" * 9, "not an image"),
    "bomb.png": (png_header(60000, 60000), "3600000000 pixels, more than --limit-pixels"),
    "short.png": (png_header(64, 64), "damaged"),
    "cut.jpg": (jpeg_bytes()[:3000], "damaged: .*truncated"),
    "head.jpg": (jpeg_bytes()[:20], "damaged"),
    "start.png": (b"\x89PNG", "damaged"),
    "zip.jpg": (b"PK\3\4" + bytes(100), "not an image"),
    "script.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    "ifd.tif": (b"II*\0\xff\xff\xff\xff", "damaged"),
    "null.gif": (b"GIF89a" + bytes(20), "damaged|cannot"),
    "bmp.bmp": (b"BM" + b"\xff" * 60, "damaged|cannot"),
    "riff.webp": (b"RIFF\x10\0\0\0WEBPVP8 " + bytes(8), "damaged|cannot"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_one_reason(tmp_path: Path, name: str) -> None:
    data, reason = DAMAGE[name]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ImageError, match=reason) as caught:
        read(path)
    assert "0x" not in str(caught.value)
    assert str(path) not in str(caught.value)


def test_a_folder_or_missing_file_is_a_reason(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.jpg"):
        with pytest.raises(ImageError):
            read(path)


def test_random_damage_never_escapes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    path = tmp_path / "a"
    outcomes = set()
    for suffix in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"):
        file = io.BytesIO()
        picture(40, 30).save(file, suffix)
        for _ in range(40):
            data = bytearray(file.getvalue())
            for place in random.integers(0, len(data), random.integers(0, 6)):
                data[place] = random.integers(0, 256)
            end = len(data) if random.random() < 0.7 else int(random.integers(1, len(data)))
            path.write_bytes(bytes(data[:end]))
            try:
                read(path, limit_pixels=10**6)
                outcomes.add("read")
            except ImageError:
                outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize(
    "error", [MemoryError, RecursionError, struct.error, KeyError, SyntaxError]
)
def test_whatever_pillow_raises_stays_with_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    path = tmp_path / "a.png"
    picture().save(path)

    def fail(*_: object) -> None:
        raise error("boom")

    monkeypatch.setattr("poolwise.embed.decode._pixels", fail)
    with pytest.raises(ImageError):
        read(path)


def test_pillows_own_limit_is_put_back() -> None:
    before = Image.MAX_IMAGE_PIXELS
    with quiet_pillow():
        assert Image.MAX_IMAGE_PIXELS is None
    assert before == Image.MAX_IMAGE_PIXELS


def test_damaged_exif_loses_the_turn_not_the_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    picture().save(path, exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + os.urandom(30))
    assert read(path).rgb.shape == (3, 16, 24)
