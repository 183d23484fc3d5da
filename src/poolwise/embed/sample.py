"""The photographs that scikit-image carries in its wheel, at several sizes.

Its other pictures are downloaded on first use, and `--sample` has to work offline, so only files
that lie in the installed package are named here. Drawings, chessboards and the right eye of the
stereo pair (nearly its left one) are left out: the set is used to show that one photograph at two
sizes is nearer than two photographs.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from poolwise.embed.errors import MissingExtraError
from poolwise.embed.sources import ImageFile, image_file

PHOTOGRAPHS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "cell.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "color.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "microaneurysms.png",
    "moon.png",
    "motorcycle_left.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
    "text.png",
)
SCALES = (1.0, 0.5, 0.25)


def photographs() -> list[Path]:
    """Paths of the photographs, without importing scikit-image (0.5 s)."""
    spec = find_spec("skimage")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    paths = [Path(folder, "data", name) for folder in folders for name in PHOTOGRAPHS]
    found = [path for path in paths if path.is_file()]
    if not found:
        raise MissingExtraError("the sample", "scikit-image", "demo")
    return found


def sample_images() -> list[ImageFile]:
    """Every photograph at every scale, named ``sample:coffee.png@50%``."""
    return [
        image_file(str(path), name=f"sample:{path.name}@{scale:.0%}", scale=scale)
        for path in photographs()
        for scale in SCALES
    ]
