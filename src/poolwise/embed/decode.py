"""One image file → RGB float32 planes, or an :class:`ImageError` with the reason.

Pillow opens only the formats named here: some of its other plug-ins start programs (EPS runs
Ghostscript), and a folder may hold anything. Rules a reader may want to know:

- the size is that of the picture as it is shown, after the EXIF orientation;
- transparency is composited over white;
- grey of 9 to 16 bits is divided by the largest value its format can hold, so a dark image stays
  dark; 32-bit integers and floats declare no range and are stretched from their own minimum to
  their maximum (NaN becomes the minimum);
- animations and multi-page files give their first frame;
- colour profiles are not applied.
"""

from __future__ import annotations

import logging
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from poolwise.embed.errors import ImageError
from poolwise.embed.sources import ImageFile

# A plug-in registers itself when it is imported; Image.init() would import forty more.
_PLUGINS = (
    BmpImagePlugin,
    GifImagePlugin,
    JpegImagePlugin,
    MpoImagePlugin,  # JPEG with several pictures, as telephones write it
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
FORMATS = tuple(
    name for name in ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "GIF", "BMP") if name in Image.OPEN
)

_MAGIC = {
    b"\xff\xd8": "JPEG",
    b"\x89PNG": "PNG",
    b"RIFF": "WebP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"GIF8": "GIF",
    b"BM": "BMP",
}
_TURN = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION, _BITS_PER_SAMPLE, _PHOTOMETRIC = 274, 258, 262
# Images above this many pixels are decoded one at a time, so that peak memory does not grow
# with the number of workers (16 M pixels are 64 MB in Pillow).
_LARGE = 1 << 24
_one_large = threading.Lock()


class Decoded(NamedTuple):
    """``rgb`` is (3, H, W) float32 in [0, 1]; ``width`` and ``height`` are the file's own."""

    rgb: NDArray[np.float32]
    width: int
    height: int


def decode(image: ImageFile, *, max_side: int, limit_pixels: int) -> Decoded:
    """Read one image; shrink it so that its longer side is at most ``max_side`` (0: no limit).

    Raises
    ------
    ImageError
        Whatever is wrong with the file; Pillow raises a dozen types for that.
    """
    if image.problem is not None:
        raise ImageError(image.problem)
    try:
        return _decode(image, max_side, limit_pixels)
    except ImageError:
        raise
    except MemoryError:
        raise ImageError("not enough memory to decode it") from None
    except RecursionError:
        raise ImageError("damaged: nested without end") from None
    except PermissionError as error:
        raise ImageError(error.strerror or "permission denied") from None
    except (OSError, SyntaxError, EOFError, struct.error) as error:
        raise ImageError(f"damaged: {_first_line(error)}") from None
    except Exception as error:
        raise ImageError(f"cannot be decoded: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]


def _decode(image: ImageFile, max_side: int, limit_pixels: int) -> Decoded:
    with open(image.path, "rb") as file:
        start = file.read(4)
        if not start:
            raise ImageError("empty file")
        try:
            picture: Image.Image = Image.open(file, formats=FORMATS)
        except UnidentifiedImageError:
            kind = next((name for magic, name in _MAGIC.items() if start.startswith(magic)), None)
            if kind:
                raise ImageError(f"damaged: starts as a {kind} but has no valid header") from None
            raise ImageError("not an image (JPEG, PNG, WebP, TIFF, GIF, BMP)") from None
        pixels = picture.width * picture.height
        if pixels > limit_pixels:
            raise ImageError(
                f"{picture.width} × {picture.height} is {pixels} pixels, "
                f"more than --limit-pixels {limit_pixels}"
            )
        with _one_large if pixels > _LARGE else nullcontext():
            return _pixels(picture, image.scale, max_side)


def _pixels(picture: Image.Image, scale: float, max_side: int) -> Decoded:
    width, height = _scaled(picture.size, scale)
    target = _fitted((width, height), max_side)
    if scale == 1 and target != (width, height):
        # JPEG decodes at 1/2, 1/4 or 1/8 for almost nothing; never below the target.
        picture.draft(None, target)
    picture.load()
    grey = _deep_grey(picture)
    flat = _flat(picture) if grey is None else Image.fromarray(grey)
    if scale != 1:
        flat = _resized(flat, (width, height))
    flat = _resized(flat, target)
    turn = _TURN.get(_orientation(picture))
    if turn is not None:
        flat = flat.transpose(turn)
        if turn >= Image.Transpose.ROTATE_90 and turn != Image.Transpose.ROTATE_180:
            width, height = height, width
    values = np.asarray(flat, dtype=np.float32)
    if grey is None:
        values = values * np.float32(1 / 255)
    if values.ndim == 2:
        values = np.broadcast_to(values[..., None], (*values.shape, 3))
    return Decoded(np.ascontiguousarray(values.transpose(2, 0, 1)), width, height)


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _fitted(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    longer = max(size)
    return size if not max_side or longer <= max_side else _scaled(size, max_side / longer)


def _resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Antialiased; ``reducing_gap`` shrinks by whole numbers first, which is several times faster
    and within rounding of the exact filter at 2."""
    if picture.size == size:
        return picture
    return picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)


def _orientation(picture: Image.Image) -> int:
    """EXIF orientation; damaged EXIF is no reason to lose the picture.

    Pillow turns TIFF by itself while loading and then drops the tag.
    """
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:
        return 1


def _deep_grey(picture: Image.Image) -> NDArray[np.float32] | None:
    """Grey of more than 8 bits as float32 in [0, 1]; None for every other mode."""
    if picture.mode.startswith("I;16"):
        tags = getattr(picture, "tag_v2", {})
        bits = tags.get(_BITS_PER_SAMPLE, (16,))[0]
        grey = np.asarray(picture).astype(np.float32) / np.float32((1 << bits) - 1)
        return 1 - grey if tags.get(_PHOTOMETRIC) == 0 else grey
    if picture.mode in ("I", "F"):
        values = np.asarray(picture).astype(np.float64)
        finite = values[np.isfinite(values)]
        low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
        span = high - low or 1.0
        stretched = (np.nan_to_num(values, nan=low, posinf=high, neginf=low) - low) / span
        return stretched.astype(np.float32)
    return None


def _flat(picture: Image.Image) -> Image.Image:
    """Any 8-bit mode as L or RGB, without transparency."""
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in picture.info:
        colours = picture.convert("RGBA")
        flat = Image.new("RGB", picture.size, (255, 255, 255))
        flat.paste(colours, mask=colours.getchannel("A"))
        return flat
    if picture.mode == "1":
        return picture.convert("L")
    return picture if picture.mode in ("L", "RGB") else picture.convert("RGB")


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Leave the pixel limit to us and keep Pillow's warnings off the progress line.

    Pillow's own limit is one number for the whole process, so it is put back afterwards.
    """
    limit = Image.MAX_IMAGE_PIXELS
    silence = logging.NullHandler()  # without any handler Python prints errors to stderr
    logging.getLogger("PIL").addHandler(silence)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL(\.|$)")
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit
            logging.getLogger("PIL").removeHandler(silence)
