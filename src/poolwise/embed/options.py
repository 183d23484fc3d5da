"""Everything that decides what the numbers in the output are, checked once, in one value.

Two runs may share rows exactly when their recipes are equal, so whatever changes a vector has to
be in :class:`Options`, and what does not (workers, quiet) must not be.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from poolwise.embed.errors import EmbedError

# Raised by hand when the same options begin to give other numbers.
RECIPE_VERSION = 1
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
DEFAULT_LIMIT_PIXELS = 100_000_000
# A row of more numbers is a slip of the keyboard (16 MB per image).
LARGEST_VECTOR = 1 << 22

Level = int | tuple[int, int]


@dataclass(frozen=True)
class Options:
    """What is made of an image. Built by :func:`make_options`."""

    levels: tuple[tuple[int, int], ...]
    pool: str
    backbone: str
    onnx_output: str | None
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    normalize: bool
    max_side: int
    limit_pixels: int

    @property
    def bins(self) -> int:
        """Numbers per channel: the bins of all levels."""
        return sum(rows * columns for rows, columns in self.levels)

    @property
    def model_path(self) -> Path | None:
        """The ONNX file, None for built-in backbones."""
        return Path(self.backbone.removeprefix("onnx:")) if self.uses_onnx else None

    @property
    def uses_onnx(self) -> bool:
        return self.backbone.startswith("onnx:")

    def recipe(self, backbone: dict[str, Any]) -> dict[str, Any]:
        """The options with the backbone's identity in place of a file name that may be reused."""
        fields = asdict(self) | {"levels": [list(level) for level in self.levels]}
        return {"recipe": RECIPE_VERSION, **fields, **backbone}


def make_options(
    *,
    levels: Sequence[Level] = (1, 2, 4),
    pool: str | None = None,
    backbone: str = "gradients",
    onnx_output: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    normalize: bool = False,
    max_side: int | None = None,
    limit_pixels: int = DEFAULT_LIMIT_PIXELS,
) -> Options:
    """Check every option and fill in what depends on the backbone.

    ``gradients`` pools means of images up to 256 pixels (which is PHOG, and the size at which its
    cells were tuned); ``onnx`` pools maxima (which is SPP-net) of images up to 512.
    """
    onnx = backbone.startswith("onnx:") and backbone != "onnx:"
    if not onnx and backbone != "gradients":
        raise EmbedError(f"backbone must be gradients or onnx:FILE, not {backbone!r}")
    if not onnx and not (onnx_output is None and mean is None and std is None):
        raise EmbedError("onnx_output, mean and std are for an onnx backbone only")
    pool = pool or ("max" if onnx else "mean")
    if pool not in ("max", "mean"):
        raise EmbedError(f"pool must be max or mean, not {pool!r}")
    if max_side is None:
        max_side = 512 if onnx else 256
    return Options(
        levels=_levels(levels),
        pool=pool,
        backbone=backbone,
        onnx_output=onnx_output,
        mean=_colour("mean", IMAGENET_MEAN if mean is None else mean) if onnx else None,
        std=_colour("std", IMAGENET_STD if std is None else std) if onnx else None,
        normalize=bool(normalize),
        max_side=_whole("max_side", max_side, 0),
        limit_pixels=_whole("limit_pixels", limit_pixels, 1),
    )


def parse_levels(text: str) -> tuple[Level, ...]:
    """Levels from the command line.

    >>> parse_levels("1,2,3x5")
    (1, 2, (3, 5))
    """
    levels: list[Level] = []
    for word in text.split(","):
        numbers = word.strip().lower().split("x")
        if not all(number.isdecimal() for number in numbers) or len(numbers) > 2:
            raise EmbedError(f"levels are whole numbers or ROWSxCOLUMNS, as 1,2,4: not {text!r}")
        levels.append(int(numbers[0]) if len(numbers) == 1 else (int(numbers[0]), int(numbers[1])))
    return tuple(levels)


def parse_numbers(option: str, text: str) -> tuple[float, ...]:
    """Comma-separated numbers from the command line."""
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        raise EmbedError(f"{option} is one number or three, as 0.5,0.5,0.5: not {text!r}") from None


def _levels(levels: Sequence[Level]) -> tuple[tuple[int, int], ...]:
    pairs = [(level, level) if isinstance(level, int) else tuple(level) for level in levels]
    if not pairs or any(
        len(pair) != 2 or not all(isinstance(n, int) and n > 0 for n in pair) for pair in pairs
    ):
        raise EmbedError(f"levels must be positive whole numbers, as 1,2,4: not {levels!r}")
    if sum(math.prod(pair) for pair in pairs) > LARGEST_VECTOR:
        raise EmbedError(f"levels {levels!r} ask for more than {LARGEST_VECTOR} bins per channel")
    return tuple((pair[0], pair[1]) for pair in pairs)


def _colour(name: str, values: Sequence[float]) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise EmbedError(f"{name} is one number or three (red, green, blue): not {values!r}")
    if name == "std" and not all(number > 0 for number in numbers):
        raise EmbedError(f"std must be above 0: not {values!r}")
    return numbers


def _whole(name: str, value: int, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise EmbedError(f"{name} must be a whole number of at least {least}: not {value!r}")
    return value


def as_text(recipe: dict[str, Any]) -> str:
    """The recipe as text: equal texts, equal recipes."""
    return json.dumps(recipe, sort_keys=True)


def differences(ours: str, theirs: str) -> str:
    """What sets two recipes apart, for a message: ``levels: [[1, 1]] there, [[2, 2]] here``."""
    here, there = json.loads(ours), json.loads(theirs)
    names = [name for name in sorted(here | there) if here.get(name) != there.get(name)]
    return ", ".join(f"{name}: {there.get(name)} there, {here.get(name)} here" for name in names)


def model_identity(path: Path) -> str:
    """SHA-256 over the model and its external data: the files beside it that it names.

    The location of external data stands as text in the model, so no package is needed to find it; a
    file named by accident only means one more file that must not change.

    Raises
    ------
    EmbedError
        If a file cannot be read.
    """
    digest = sha256()
    try:
        graph = path.read_bytes()
        beside = (entry for entry in path.parent.iterdir() if entry.is_file() and entry != path)
        named = (entry for entry in beside if os.fsencode(entry.name) in graph)
        for part in (path, *sorted(named)):
            with open(part, "rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    except OSError as error:
        raise EmbedError(f"cannot read the model {path}: {error.strerror}") from None
    return digest.hexdigest()
