"""Which files are taken, in which order, each once; nothing on a disk may hang or crash it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from poolwise.embed import EmbedError
from poolwise.embed.sources import list_images, printable


def make(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def names(root: Path, *sources: str, **options: object) -> list[str]:
    images = list_images([root / source for source in sources], **options)  # type: ignore[arg-type]
    return [os.path.relpath(image.path, root) for image in images]


def test_a_folder_is_walked_depth_first_by_name_in_bytes(tmp_path: Path) -> None:
    make(tmp_path, "b.jpg", "a/z.jpg", "a/B.jpg", "a/b.jpg", "Z.jpg", "ä.jpg", "c/d/e.png")
    assert names(tmp_path, ".") == [
        "Z.jpg",
        "a/B.jpg",
        "a/b.jpg",
        "a/z.jpg",
        "b.jpg",
        "c/d/e.png",
        "ä.jpg",
    ]


def test_overlapping_sources_give_each_image_once(tmp_path: Path) -> None:
    make(tmp_path, "a/1.jpg", "a/2.jpg", "b/3.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    sources = ("a/2.jpg", "a", "link", "link/1.jpg", "./a/../a/1.jpg", "*/*.jpg", ".", "a/2.jpg")
    assert names(tmp_path, *sources) == ["a/2.jpg", "a/1.jpg", "b/3.jpg"]


def test_globs_are_sorted_and_may_be_recursive(tmp_path: Path) -> None:
    make(tmp_path, "b.jpg", "a.jpg", "a.png", "x/y/c.jpg")
    assert names(tmp_path, "*.jpg") == ["a.jpg", "b.jpg"]
    assert names(tmp_path, "**/*.jpg") == ["a.jpg", "b.jpg", "x/y/c.jpg"]
    assert names(tmp_path, "[xyz]") == ["x/y/c.jpg"]


def test_a_name_with_glob_characters_is_a_name_first(tmp_path: Path) -> None:
    make(tmp_path, "a[1].jpg", "a1.jpg")
    assert names(tmp_path, "a[1].jpg") == ["a[1].jpg"]


def test_hidden_files_and_what_is_written_here_are_left_out(tmp_path: Path) -> None:
    make(tmp_path, ".hidden.jpg", ".git/a.jpg", "Thumbs.db", "a.jpg", "old.parquet", "old.npz")
    make(tmp_path, "old.parquet.failures.csv", "old.parquet.parts/part-000000.parquet")
    make(tmp_path, "out.parquet", "out.parquet.parts/lock", "out.parquet.failures.csv")
    output = tmp_path / "out.parquet"
    assert names(tmp_path, ".", output=output) == ["a.jpg"]
    assert names(tmp_path, "*", output=output) == ["a.jpg"]
    # as a shell expands `*`: this run's own files stay out although they are named
    named = sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("out"))
    assert names(tmp_path, *named, output=output) == []


def test_ignore_leaves_out_names_and_paths(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "notes.txt", "masks/a.png", "deep/masks/b.png")
    assert names(tmp_path, ".", ignore=["*.txt", "masks"]) == ["a.jpg"]
    assert names(tmp_path, ".", ignore=["*/masks/b.*"]) == ["a.jpg", "masks/a.png", "notes.txt"]


def test_symbolic_link_loops_end(tmp_path: Path) -> None:
    make(tmp_path, "a/1.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    images = list_images([tmp_path])
    problems = {Path(image.path).name: image.problem for image in images}
    assert set(problems) == {"1.jpg", "self"}
    assert problems["1.jpg"] is None
    assert problems["self"]


def test_pipes_and_broken_links_are_reported_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    assert [image.problem for image in list_images([tmp_path])] == [
        "No such file or directory",
        "not a regular file",
    ]


def test_very_deep_folders_do_not_exhaust_the_stack(tmp_path: Path) -> None:
    deepest = tmp_path.joinpath(*["d"] * 1200)
    folder = tmp_path
    try:
        for _ in range(1200):
            folder = folder / "d"
            folder.mkdir()
        (deepest / "a.jpg").write_bytes(b"x")
        assert len(list_images([tmp_path])) == 1
    finally:  # pytest would remove it by recursion
        (deepest / "a.jpg").unlink(missing_ok=True)
        while folder != tmp_path:
            folder.rmdir()
            folder = folder.parent


def test_names_that_are_not_utf8_are_printable(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    with open(path, "wb") as file:
        file.write(b"x")
    (image,) = list_images([tmp_path])
    assert image.name.endswith(r"caf\xe9.jpg")
    assert printable(image.path) == image.name
    assert len(image.stamp()) == 16


def test_a_missing_source_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EmbedError, match=r"no such file or folder: .*missing"):
        list_images([tmp_path / "missing"])


def test_a_stamp_follows_the_file(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg")
    path = tmp_path / "a.jpg"
    (before,) = list_images([path])
    (again,) = list_images([path])
    os.utime(path, ns=(1, 1))
    (touched,) = list_images([path])
    assert before.stamp() == again.stamp() != touched.stamp()
