"""A folder of class folders → a :class:`Dataset`; whatever is wrong with it is said, not guessed.

    DATA/cat/*.jpg  DATA/dog/*.png             split here, by class
    DATA/train/cat/…  DATA/test/cat/…          split as it lies

Images are read as `poolwise embed` reads them (any mode, EXIF, first frame, transparency over
white). Equal pixels count as one image for the split: a copy in the test half of a picture that was
trained on would be an error rate of the memory, not of the network.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poolwise.compare.dataset import Dataset, Pixels
from poolwise.compare.errors import CompareError
from poolwise.embed.decode import decode, quiet_pillow
from poolwise.embed.errors import ImageError
from poolwise.embed.options import DEFAULT_LIMIT_PIXELS
from poolwise.embed.sources import ImageFile, list_images, printable

TEST_SHARE = 0.25
_LAYOUT = "DATA holds one folder of images per class, or train/ and test/ with such folders"
# What a half of a split is called; a validation half is tested on where there is no test half.
_TRAIN, _TEST = ("train", "training"), ("test", "testing", "val", "valid", "validation")


class _Part:
    """The images of one tree of class folders, in the order of their paths."""

    def __init__(self) -> None:
        self.images: list[Pixels] = []
        self.names: list[str] = []
        self.digests: list[bytes] = []


def read_folder(
    folder: Path,
    *,
    max_side: int,
    split_seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Dataset:
    """Read, check and split.

    Parameters
    ----------
    folder : Path
    max_side : int
        Larger images are shrunk, keeping their aspect; 0 never.
    split_seed : int
        Draws the test quarter of each class where the folder has no ``test/``.
    progress : callable(done, total)

    Raises
    ------
    CompareError
        If there are fewer than two classes, nothing to train on or nothing to test, or a class
        that only ``test/`` has.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise CompareError(f"{printable(str(folder))} {what}. {_LAYOUT}")
    notes: list[str] = []
    roots = _halves(folder, notes) or [folder]
    given = len(roots) == 2
    failures: list[tuple[str, str]] = []
    listed = [_list(root, notes) for root in roots]
    total = sum(len(files) for files in listed)
    done = 0
    parts: list[_Part] = []
    for files in listed:
        parts.append(_read(files, max_side, failures, lambda n, d=done: progress(d + n, total)))  # type: ignore[misc]
        done += len(files)
    if not any(part.images for part in parts):
        raise CompareError(f"no image in {printable(str(folder))} could be read. {_LAYOUT}")
    classes = tuple(sorted({name for part in parts for name in part.names}))
    if len(classes) < 2:
        raise CompareError(
            f"{printable(str(folder))} has images of one class ({classes[0]!r}); "
            f"telling apart takes two. {_LAYOUT}"
        )
    made = (
        _as_given(parts, classes, notes) if given else _split(parts[0], classes, split_seed, notes)
    )
    images, labels, train, test = made
    if not len(train) or not len(test):
        raise CompareError(
            f"{printable(str(folder))} has too few images: {len(train)} to train on, "
            f"{len(test)} to test; two different images of each class are the least"
        )
    grey = sum(_is_grey(image) for image in images)
    if 0 < grey < len(images):
        notes.append(f"{grey} of {len(images)} images are grey: read as three equal channels")
    tiny = sum(min(image.shape[1:]) < 8 for image in images)
    if tiny:
        notes.append(
            f"{tiny} images have a side below 8 pixels: trained and tested on as they are, "
            "left out of shift consistency"
        )
    if failures:
        notes.append(f"{len(failures)} files could not be read and are left out")
    return Dataset(
        name=folder.resolve().name,
        classes=classes,
        images=images,
        labels=labels,
        train=train,
        test=test,
        notes=tuple(notes),
        failures=tuple(failures),
    )


def _halves(folder: Path, notes: list[str]) -> list[Path] | None:
    """The folders to train and to test on, or None where images are to be split here.

    A class may be called ``train`` too: a half of a split holds folders, not images.
    """
    found = {p.name.lower(): p for p in sorted(folder.iterdir()) if _holds_folders(p)}
    train, test = (
        next((found[name] for name in names if name in found), None) for names in (_TRAIN, _TEST)
    )
    if train is None or test is None:
        there, missing = (train, "test/ or val/") if train else (test, "train/")
        if there is None:
            return None
        if any(p.is_dir() and p != there for p in folder.iterdir() if not p.name.startswith(".")):
            return None  # classes, one of which happens to be called so
        raise CompareError(
            f"{printable(str(folder))} has {there.name}/ with folders in it, but no {missing}. "
            f"{_LAYOUT}"
        )
    others = [p for p in folder.iterdir() if p not in (train, test) and not p.name.startswith(".")]
    if others:
        names = ", ".join(sorted(printable(p.name) for p in others)[:3])
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        notes.append(f"left out, beside {train.name}/ and {test.name}/: {names}{more}")
    return [train, test]


def _holds_folders(path: Path) -> bool:
    if not path.is_dir():
        return False
    shown = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    return any(entry.is_dir() for entry in shown)


def _list(root: Path, notes: list[str]) -> list[tuple[str, ImageFile]]:
    """(class, file) of every file below a class folder."""
    entries = sorted(root.iterdir(), key=lambda path: path.name)
    loose = [path for path in entries if path.is_file() and not path.name.startswith(".")]
    if loose:
        files = "1 file" if len(loose) == 1 else f"{len(loose)} files"
        notes.append(f"left out, beside the class folders of {root.name}/: {files}")
    folders = [path for path in entries if path.is_dir() and not path.name.startswith(".")]
    return [(printable(path.name), file) for path in folders for file in list_images([path])]


def _read(
    files: Sequence[tuple[str, ImageFile]],
    max_side: int,
    failures: list[tuple[str, str]],
    progress: Callable[[int], None],
) -> _Part:
    part = _Part()

    def load(file: ImageFile) -> Pixels | ImageError:
        try:
            rgb = decode(file, max_side=max_side, limit_pixels=DEFAULT_LIMIT_PIXELS).rgb
        except ImageError as error:
            return error
        return (rgb * 255).round().astype(np.uint8)

    with quiet_pillow(), ThreadPoolExecutor(4) as threads:
        loaded = threads.map(load, [file for _, file in files])
        for number, ((name, file), pixels) in enumerate(zip(files, loaded, strict=True), 1):
            progress(number)
            if isinstance(pixels, ImageError):
                failures.append((file.name, str(pixels)))
                continue
            part.images.append(pixels)
            part.names.append(name)
            part.digests.append(_digest(pixels))
    return part


def _digest(pixels: Pixels) -> bytes:
    return blake2b(repr(pixels.shape).encode() + pixels.tobytes(), digest_size=16).digest()


def _is_grey(image: Pixels) -> bool:
    return bool((image[0] == image[1]).all() and (image[0] == image[2]).all())


Made = tuple[list[Pixels], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def _split(part: _Part, classes: Sequence[str], seed: int, notes: list[str]) -> Made:
    """A quarter of each class to test on, copies of a picture on one side."""
    labels = np.array([classes.index(name) for name in part.names], np.int64)
    groups: dict[bytes, list[int]] = defaultdict(list)
    for index, digest in enumerate(part.digests):
        groups[digest].append(index)
    copies = len(part.images) - len(groups)
    if copies:
        notes.append(f"{copies} images are copies of others: copies stay on one side of the split")
    torn = sum(len({int(labels[i]) for i in members}) > 1 for members in groups.values())
    if torn:
        notes.append(f"{torn} pictures are in several classes at once: nobody can tell those apart")
    generator = np.random.default_rng(seed)
    train: list[int] = []
    test: list[int] = []
    for label, name in enumerate(classes):
        own = [members for members in groups.values() if labels[members[0]] == label]
        order = generator.permutation(len(own))
        count = 0 if len(own) < 2 else max(1, round(TEST_SHARE * len(own)))
        for place, k in enumerate(order):
            (test if place < count else train).extend(own[k])
        if not count:
            notes.append(f"class {name!r} has one distinct image: trained on, never tested")
    return (
        part.images,
        labels,
        np.sort(np.array(train, np.int64)),
        np.sort(np.array(test, np.int64)),
    )


def _as_given(parts: Sequence[_Part], classes: Sequence[str], notes: list[str]) -> Made:
    """train/ and test/ as they lie; what both hold is tested on only."""
    train_part, test_part = parts
    only_test = sorted(set(test_part.names) - set(train_part.names))
    if only_test:
        raise CompareError(
            f"class {only_test[0]!r} is in test/ only: no network can know it. Give it training "
            "images, or take it out of test/"
        )
    for name in sorted(set(train_part.names) - set(test_part.names)):
        notes.append(f"class {name!r} is in train/ only: a possible answer, never tested")
    tested = set(test_part.digests)
    kept = [i for i, digest in enumerate(train_part.digests) if digest not in tested]
    dropped = len(train_part.images) - len(kept)
    if dropped:
        notes.append(f"{dropped} images of train/ are in test/ too: not trained on")
    images = [train_part.images[i] for i in kept] + test_part.images
    names = [train_part.names[i] for i in kept] + test_part.names
    labels = np.array([classes.index(name) for name in names], np.int64)
    return images, labels, np.arange(len(kept)), np.arange(len(kept), len(images))
