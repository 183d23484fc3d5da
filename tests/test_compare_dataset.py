"""Built-in sets without leaks; folders with everything that folders have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from poolwise.compare import CompareError, Dataset
from poolwise.compare.builtin import cut, digits, textures
from poolwise.compare.folder import read_folder


def picture(path: Path, seed: int, size: tuple[int, int] = (20, 14), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Eight images of each of two classes, of different sizes."""
    for k in range(16):
        picture(tmp_path / "photos" / "ab"[k % 2] / f"{k}.png", k, (12 + k, 20 - k // 2))
    return tmp_path / "photos"


def said(data: Dataset) -> str:
    return "\n".join(data.notes)


def read(folder: Path, seed: int = 0) -> Dataset:
    return read_folder(folder, max_side=64, split_seed=seed)


def test_blocks_do_not_overlap_and_every_row_and_column_is_tested() -> None:
    marks = np.arange(61 * 83 * 3, dtype=np.float32).reshape(61, 83, 3)
    blocks = cut(marks)
    cells = np.concatenate([block.ravel() for block, _ in blocks])
    assert len(np.unique(cells)) == len(cells) == 60 * 80 * 3
    tested = [k for k, (_, test) in enumerate(blocks) if test]
    assert len({k // 4 for k in tested}) == len({k % 4 for k in tested}) == len(tested) == 4


def test_textures_have_many_sizes_and_are_the_same_every_time() -> None:
    data = textures()
    assert len({image.shape for image in data.images}) > 50
    assert not set(data.train) & set(data.test)
    assert np.bincount(data.labels[data.train]).tolist() == [30] * len(data.classes)
    assert np.bincount(data.labels[data.test]).tolist() == [20] * len(data.classes)
    assert data.fingerprint() == textures().fingerprint()


def test_digits() -> None:
    data = digits()
    assert (len(data.train), len(data.test)) == (400, 1397)
    assert not set(data.train) & set(data.test)
    assert np.bincount(data.labels[data.train]).tolist() == [40] * 10


def test_fingerprint_changes_with_everything() -> None:
    data = digits()
    seen = {data.fingerprint()}
    image = data.images[0].copy()
    image[0, 0, 0] ^= 1
    for change in (
        {"images": [image, *data.images[1:]]},
        {"labels": np.roll(data.labels, 1)},
        {"train": data.train[1:]},
        {"classes": data.classes[::-1]},
    ):
        seen.add(Dataset(**{**vars(data), **change}).fingerprint())
    assert len(seen) == 5


def test_a_folder_is_split_by_class_and_by_seed(photos: Path) -> None:
    data = read(photos)
    assert data.classes == ("a", "b")
    assert np.bincount(data.labels[data.test]).tolist() == [2, 2]
    assert sorted([*data.train, *data.test]) == list(range(16))
    assert data.fingerprint() == read(photos).fingerprint()
    assert {tuple(read(photos, seed).test) for seed in range(5)} != {tuple(data.test)}


def test_copies_stay_on_one_side(photos: Path) -> None:
    for k in range(4):
        Image.open(photos / "a" / "0.png").save(photos / "a" / f"copy{k}.bmp")
    for seed in range(6):
        data = read(photos, seed)
        assert "4 images are copies" in said(data)
        keys = [image.tobytes() for image in data.images]
        train, test = ({keys[i] for i in side} for side in (data.train, data.test))
        assert not train & test


def test_a_picture_in_two_classes_is_said(photos: Path) -> None:
    Image.open(photos / "a" / "0.png").save(photos / "b" / "same.png")
    assert "1 pictures are in several classes" in said(read(photos))


def test_train_and_test_as_given(tmp_path: Path) -> None:
    for k in range(6):
        picture(tmp_path / "train" / "ab"[k % 2] / f"{k}.png", k)
        picture(tmp_path / "test" / "ab"[k % 2] / f"{k}.png", 100 + k)
    picture(tmp_path / "test" / "a" / "leak.png", 0)  # the same pixels as train/a/0.png
    picture(tmp_path / "train" / "c" / "0.png", 50)
    data = read(tmp_path)
    assert (len(data.train), len(data.test)) == (6, 7)
    assert "1 images of train/ are in test/ too: not trained on" in said(data)
    assert "class 'c' is in train/ only: a possible answer, never tested" in said(data)


def test_a_class_in_test_only_is_an_error(tmp_path: Path) -> None:
    for k in range(4):
        picture(tmp_path / "train" / "ab"[k % 2] / f"{k}.png", k)
    picture(tmp_path / "test" / "z" / "0.png", 9)
    with pytest.raises(CompareError, match="class 'z' is in test/ only"):
        read(tmp_path)


def test_unreadable_grey_tiny_and_lonely_images_are_said(photos: Path) -> None:
    (photos / "a" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (photos / "a" / "notes.txt").write_text("hello")
    (photos / "loose.txt").write_text("beside the classes")
    picture(photos / "b" / "grey.png", 70, mode="L")
    picture(photos / "b" / "dot.png", 71, (1, 1))
    picture(photos / "c" / "only.png", 72)
    data = read(photos)
    assert sorted(Path(path).name for path, _ in data.failures) == ["broken.png", "notes.txt"]
    for text in (
        ": 1 file",
        "2 files could not be read",
        "1 of 19 images are grey",
        "1 images have a side below 8 pixels",
        "class 'c' has one distinct image: trained on, never tested",
    ):
        assert text in said(data)
    assert min(image.shape[1:] for image in data.images) == (1, 1)


def test_large_images_are_shrunk_with_their_aspect(photos: Path) -> None:
    picture(photos / "a" / "large.png", 80, (200, 100))
    assert (3, 32, 64) in {image.shape for image in read(photos).images}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "does not exist"),
        (lambda folder: folder.write_text("x"), "is not a folder"),
        (lambda folder: folder.mkdir(), "no image in"),
        (lambda folder: picture(folder / "a" / "0.png", 0), "images of one class ('a')"),
        (
            lambda folder: [picture(folder / c / "0.png", k) for k, c in enumerate("ab")],
            "2 to train on, 0 to test",
        ),
    ],
)
def test_folders_that_cannot_be_compared(tmp_path: Path, make, message: str) -> None:
    make(tmp_path / "data")
    with pytest.raises(CompareError) as caught:
        read(tmp_path / "data")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": [np.zeros((3, 4, 4))] * 4}, "uint8 arrays (3, height, width), not float64"),
        ({"images": [np.zeros((4, 4), np.uint8)] * 4}, "not uint8 (4, 4)"),
        ({"labels": np.zeros(3, np.int64)}, "4 images and 3 labels"),
        ({"labels": np.full(4, 2)}, "indices into two classes"),
        ({"train": np.arange(3)}, "none in common"),
        ({"test": np.arange(0)}, "must have images"),
    ],
)
def test_a_set_of_ones_own_must_fit_together(change: dict, message: str) -> None:
    fields = {
        "name": "mine",
        "classes": ("a", "b"),
        "images": [np.zeros((3, 4, 4), np.uint8)] * 4,
        "labels": np.array([0, 1, 0, 1]),
        "train": np.arange(2),
        "test": np.arange(2, 4),
    }
    Dataset(**fields)
    with pytest.raises(CompareError) as caught:
        Dataset(**{**fields, **change})
    assert message in str(caught.value)


def pictures(folder: Path, count: int, seed: int) -> None:
    for k in range(count):
        picture(folder / f"{k}.png", 100 * seed + k)


def test_a_validation_half_is_tested_on_and_what_lies_beside_is_named(tmp_path: Path) -> None:
    for seed, where in enumerate(("Train/a", "Train/b", "val/a", "val/b", "more/c")):
        pictures(tmp_path / where, 3, seed)
    data = read(tmp_path)
    assert data.classes == ("a", "b")
    assert (len(data.train), len(data.test)) == (6, 6)
    assert "left out, beside Train/ and val/: more" in said(data)


def test_half_a_split_says_which_half_is_missing(tmp_path: Path) -> None:
    pictures(tmp_path / "train" / "a", 2, 1)
    pictures(tmp_path / "train" / "b", 2, 2)
    with pytest.raises(CompareError, match="no test/ or val/"):
        read(tmp_path)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    pictures(tmp_path / "train", 4, 1)
    pictures(tmp_path / "plane", 4, 2)
    assert read(tmp_path).classes == ("plane", "train")
