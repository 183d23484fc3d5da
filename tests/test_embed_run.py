"""The whole job: what is in the file, resuming, changes, failures, refusals."""

from __future__ import annotations

import csv
import errno
import json
import os
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import poolwise as pw
from poolwise.embed import (
    EmbedError,
    MissingExtraError,
    OutputError,
    Progress,
    Report,
    embed,
    formats,
    pipeline,
    rows,
    store,
)
from poolwise.embed.decode import decode
from poolwise.embed.gradients import Gradients
from poolwise.embed.sources import image_file


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve small images of different sizes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(12):
        height, width = random.integers(1, 60, 2)
        noise = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
        Image.fromarray(noise).save(folder / f"{i:02}.png")
    return folder


def table(path: Path) -> dict[str, Any]:
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return {name: arrays[name].tolist() for name in ("path", "width", "height", "vector")}
    return pq.read_table(path).to_pydict()


def failures(output: Path) -> dict[str, str]:
    path = Path(f"{output}.failures.csv")
    with open(path, newline="", encoding="utf-8") as file:
        return {Path(row["path"]).name: row["reason"] for row in csv.DictReader(file)}


def written(path: Path) -> tuple[int, int, int]:
    """Which file it is and when it was written (not when it was read: reading may move that)."""
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


def left_over(output: Path) -> list[str]:
    return sorted(p.name for p in output.parent.iterdir() if p.name.startswith(output.name))


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
@pytest.mark.parametrize("pool", ["max", "mean"])
def test_rows_are_the_pyramids_of_the_images(photos: Path, suffix: str, pool: str) -> None:
    output = photos.parent / f"out{suffix}"
    report = embed(photos, output, levels=(1, (2, 3)), pool=pool, workers=3)
    content = table(output)
    assert content["path"] == [str(path) for path in sorted(photos.iterdir())]
    assert report.rows == len(content["vector"]) == 12
    assert report.length == 14 * 7
    for path, width, height, vector in zip(*content.values(), strict=True):
        rgb, *size = decode(image_file(path), max_side=256, limit_pixels=10**8)
        assert [width, height] == size
        expected = pw.spatial_pyramid_pool(Gradients()(rgb), (1, (2, 3)), pool)
        assert np.array_equal(np.array(vector, np.float32), expected)
    assert left_over(output) == [output.name]


def test_parquet_says_what_it_is_and_how_it_was_made(photos: Path) -> None:
    output = photos.parent / "out.parquet"
    embed(photos, output, levels=(1, 2), normalize=True)
    schema = pq.read_schema(output)
    assert schema.names == ["path", "width", "height", "vector"]
    assert str(schema.field("vector").type).startswith("fixed_size_list<element: float")
    assert schema.field("vector").type.list_size == 14 * 5
    made = json.loads(schema.metadata[b"poolwise"])
    assert made["complete"] is True
    assert made["rows"] == 12
    assert made["recipe"]["levels"] == [[1, 1], [2, 2]]
    assert made["recipe"]["normalize"] is True
    assert made["versions"]["pillow"]
    norms = np.linalg.norm(np.array(table(output)["vector"]), axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-6)


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
def test_chunks_parts_and_workers_do_not_show(
    photos: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, many = (photos.parent / f"{name}{suffix}" for name in ("one", "many"))
    monkeypatch.setattr(rows, "BLOCK_ROWS", 5)
    embed(photos, one, workers=1)
    monkeypatch.setattr(pipeline, "_CHUNK_MAPS", 2)
    monkeypatch.setattr(store, "PART_SECONDS", 0.0)
    embed(photos, many, workers=4)
    assert one.read_bytes() == many.read_bytes()


def test_a_finished_output_is_left_alone(photos: Path) -> None:
    output = photos.parent / "out.parquet"
    embed(photos, output)
    before = written(output)
    report = embed(photos, output)
    assert not report.changed
    assert report.reused == 12
    assert written(output) == before


def test_changed_new_and_removed_images(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "BLOCK_ROWS", 4)
    output, fresh = photos.parent / "out.parquet", photos.parent / "fresh.parquet"
    embed(photos, output)
    Image.new("RGB", (9, 9), "red").save(photos / "05.png")
    Image.new("RGB", (9, 9), "blue").save(photos / "03b.png")
    (photos / "00.png").unlink()
    report = embed(photos, output)
    assert (report.rows, report.reused, report.computed) == (12, 10, 2)
    embed(photos, fresh)
    assert output.read_bytes() == fresh.read_bytes()
    os.utime(photos / "07.png", ns=(5, 5))
    assert embed(photos, output).computed == 1


def test_failures_are_listed_counted_and_tried_again(photos: Path) -> None:
    output = photos.parent / "out.parquet"
    (photos / "03a.jpg").write_bytes(b"")
    (photos / "notes.txt").write_text("no image")
    (photos / "02a.png").write_bytes((photos / "02.png").read_bytes()[:60])
    report = embed(photos, output)
    assert report.rows == 12
    assert [Path(f.path).name for f in report.failures] == ["02a.png", "03a.jpg", "notes.txt"]
    assert failures(output)["03a.jpg"] == "empty file"
    assert report.failures_file == Path(f"{output}.failures.csv")
    before = written(output)
    again = embed(photos, output)
    assert not again.changed
    assert len(again.failures) == 3
    assert written(output) == before
    Image.new("RGB", (9, 9)).save(photos / "03a.jpg")
    (photos / "notes.txt").unlink()
    (photos / "02a.png").unlink()
    assert embed(photos, output).rows == 13
    assert left_over(output) == ["out.parquet"]


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
def test_nothing_but_failures_still_makes_a_file(photos: Path, suffix: str) -> None:
    output = photos.parent / f"out{suffix}"
    (photos.parent / "x.jpg").write_text("x")
    report = embed(photos.parent / "x.jpg", output)
    assert (report.rows, len(report.failures)) == (0, 1)
    assert table(output)["path"] == []


def test_a_bomb_is_one_failure(photos: Path) -> None:
    output = photos.parent / "out.parquet"
    Image.new("L", (300, 300)).save(photos / "big.png")
    report = embed(photos, output, limit_pixels=80_000)
    assert [Path(f.path).name for f in report.failures] == ["big.png"]
    assert "90000 pixels, more than --limit-pixels 80000" in report.failures[0].reason
    assert report.rows == 12


@pytest.mark.parametrize("error", [MemoryError, RuntimeError, ZeroDivisionError])
def test_a_backbone_that_fails_costs_one_image(
    photos: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    original = Gradients.__call__
    calls = []

    def sometimes(self: Gradients, rgb: np.ndarray) -> np.ndarray:
        calls.append(1)
        if len(calls) == 5:
            raise error
        return original(self, rgb)

    monkeypatch.setattr(Gradients, "__call__", sometimes)
    report = embed(photos, photos.parent / "out.parquet", workers=1)
    assert [Path(f.path).name for f in report.failures] == ["04.png"]
    assert report.rows == 11


def test_other_options_are_refused_and_overwrite_replaces(photos: Path) -> None:
    output = photos.parent / "out.parquet"
    embed(photos, output)
    with pytest.raises(EmbedError, match=r"other options \(levels: .* there, .* here\)"):
        embed(photos, output, levels=(1,))
    assert embed(photos, output, levels=(1,), overwrite=True).length == 14
    output.write_bytes(b"something else")  # not even Parquet
    with pytest.raises(EmbedError, match="was not made by poolwise embed"):
        embed(photos, output)
    assert embed(photos, output, overwrite=True).rows == 12


@pytest.mark.parametrize("content", ["npy", "npz", "zip", "text", "nothing"])
def test_a_file_of_somebody_else_is_never_replaced(photos: Path, content: str) -> None:
    output = photos.parent / "out.npz"
    with output.open("wb") as file:
        if content == "npy":
            np.save(file, np.zeros(3))
        elif content == "npz":
            np.savez(file, x=np.zeros(3))
        else:
            file.write({"zip": b"PK\3\4", "text": b"text", "nothing": b""}[content])
    before = output.read_bytes()
    with pytest.raises(EmbedError, match="was not made by poolwise embed"):
        embed(photos, output)
    assert output.read_bytes() == before


class FullDisk:
    """A file that takes some bytes and then no more."""

    def __init__(self, file: IO[bytes], room: int) -> None:
        self.file, self.room = file, room

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> FullDisk:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, data: bytes) -> int:
        self.room -= len(memoryview(data).cast("B"))
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(data)


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
@pytest.mark.parametrize("fails_at", ["part-000002", "out"])
def test_a_full_disk_keeps_what_is_finished(
    photos: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, fails_at: str
) -> None:
    output, fresh = photos.parent / f"out{suffix}", photos.parent / f"fresh{suffix}"
    monkeypatch.setattr(rows, "BLOCK_ROWS", 3)
    monkeypatch.setattr(pipeline, "_CHUNK_MAPS", 3)
    embed(photos, fresh)

    def small_disk(path: Path, mode: str) -> Any:
        file = path.open(mode)
        return FullDisk(file, 3000) if path.name.startswith(f".{fails_at}") else file

    monkeypatch.setattr(store, "open", small_disk, raising=False)
    with pytest.raises(OutputError) as caught:
        embed(photos, output)
    assert caught.value.errno == errno.ENOSPC
    assert not output.exists()
    folder = Path(f"{output}.parts")
    assert not list(folder.glob(".*.tmp"))
    parts = sorted(folder.glob("part-*"))
    assert len(parts) == (2 if fails_at.startswith("part") else 4)
    assert [len(table(part)["path"]) for part in parts] == [3] * len(parts)
    monkeypatch.undo()
    monkeypatch.setattr(rows, "BLOCK_ROWS", 3)
    with pytest.raises(EmbedError, match="unfinished work of other options"):
        embed(photos, output, pool="max")
    report = embed(photos, output)
    assert report.reused == 3 * len(parts)
    assert output.read_bytes() == fresh.read_bytes()
    assert left_over(output) == [output.name]


def test_a_part_that_is_not_whole_is_made_again(photos: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(rows, "BLOCK_ROWS", 3)
    monkeypatch.setattr(pipeline, "_CHUNK_MAPS", 3)
    output, fresh = photos.parent / "out.parquet", photos.parent / "fresh.parquet"
    embed(photos, fresh)
    with monkeypatch.context() as patch:
        patch.setattr(store.Store, "merge", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            embed(photos, output)
    part = Path(f"{output}.parts", "part-000001.parquet")
    part.write_bytes(part.read_bytes()[:-20])
    assert embed(photos, output).reused == 9
    assert output.read_bytes() == fresh.read_bytes()


def test_two_runs_at_once_are_refused(photos: Path) -> None:
    output = photos.parent / "out.parquet"

    class Second(Progress):
        error = ""

        def start(self, total: int, reused: int) -> None:
            with pytest.raises(EmbedError) as caught:
                embed(photos, output)
            self.error = str(caught.value)

    progress = Second()
    assert embed(photos, output, progress=progress).rows == 12
    assert "another poolwise embed is writing" in progress.error


def test_output_inside_the_source_is_never_read(photos: Path) -> None:
    output = photos / "out.parquet"
    for _ in range(2):
        report = embed([photos, f"{photos}/*"], output)
        assert (report.rows, report.failures) == (12, ())


def test_names_that_are_not_utf8(photos: Path) -> None:
    data = (photos / "00.png").read_bytes()
    for name in (b"caf\xe9.png", b"bad\xff.jpg"):
        with open(os.fsencode(photos) + b"/" + name, "wb") as file:
            file.write(data if name.endswith(b"png") else b"")
    for suffix in (".parquet", ".npz"):
        output = photos.parent / f"out{suffix}"
        report = embed(photos, output)
        assert report.rows == 13
        assert str(photos / r"caf\xe9.png") in table(output)["path"]
        assert failures(output) == {r"bad\xff.jpg": "empty file"}


def test_memory_does_not_grow_with_the_number_of_images() -> None:
    """At most a few images per worker are under way, however slow the reader of the results."""
    under_way = most = 0

    def work(item: int) -> int:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        return item

    results = []
    for result in pipeline.in_order(work, range(500), workers=2):
        results.append(result)
        under_way -= 1
    assert results == list(range(500))
    assert most <= 2 * 4 + 1


def test_the_sample_comes_in_several_sizes(tmp_path: Path) -> None:
    report = embed(output=tmp_path / "out.parquet", sample=True, levels=(1,))
    content = table(tmp_path / "out.parquet")
    assert report.rows == 60
    assert content["path"][3:6] == [f"sample:brick.png@{s}%" for s in (100, 50, 25)]
    assert content["width"][3:6] == [512, 256, 128]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"output": "out.csv"}, r"\.parquet or \.npz"),
    ({"output": "missing/out.npz"}, "no such folder for the output"),
    ({"levels": ()}, "levels must be"),
    ({"levels": (0,)}, "levels must be"),
    ({"levels": (1, (2, 3, 4))}, "levels must be"),
    ({"levels": (9999,)}, "more than"),
    ({"pool": "median"}, "pool must be"),
    ({"backbone": "resnet"}, "backbone must be"),
    ({"backbone": "onnx:"}, "backbone must be"),
    ({"backbone": "onnx:missing.onnx"}, "cannot read the model"),
    ({"mean": (0, 0, 0)}, "for an onnx backbone only"),
    ({"max_side": -1}, "max_side must be"),
    ({"limit_pixels": 0}, "limit_pixels must be"),
    ({"workers": 0}, "workers must be"),
    ({"sources": []}, "no images"),
    ({"sources": ["empty"]}, "no images found in empty"),
    ({"sources": ["*.nothing"]}, "no images found in"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_calls_change_nothing(
    photos: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(photos.parent)
    (photos.parent / "empty").mkdir()
    with pytest.raises(EmbedError, match=message):
        embed(**{"sources": ["photos"], "output": "out.parquet", **change})
    assert sorted(os.listdir()) == ["empty", "photos"]


def test_a_missing_library_names_the_extra(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(output: Path) -> formats.Format:
        raise MissingExtraError("a .parquet output", "pyarrow", "demo")

    monkeypatch.setattr(store, "format_for", absent)
    with pytest.raises(MissingExtraError, match=r'pip install "poolwise\[demo\]"'):
        embed(photos, photos.parent / "out.parquet")


def test_reports_are_values(photos: Path) -> None:
    report = embed(str(photos / "00.png"), str(photos.parent / "out.npz"))
    assert isinstance(report, Report)
    assert (report.rows, report.computed, report.reused) == (1, 1, 0)


def test_files_of_the_user_are_left_alone(photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.parquet"
    table_of_mine = tmp_path / "out.parquet.failures.csv"
    table_of_mine.write_text("keep,me\n")
    folder = tmp_path / "out.parquet.parts"
    folder.mkdir()
    (folder / "precious.txt").write_text("hi")
    with pytest.raises(EmbedError, match="in the way"):
        embed(photos, output)
    assert (folder / "precious.txt").read_text() == "hi"
    (folder / "precious.txt").unlink()
    embed(photos, output)
    assert table_of_mine.read_text() == "keep,me\n"
    assert not folder.exists()


@pytest.mark.parametrize("name", ["", "n" * 250 + ".parquet", "n" * 240 + ".parquet"])
def test_impossible_outputs_are_refused_before_any_work(
    photos: Path, tmp_path: Path, name: str
) -> None:
    with pytest.raises(EmbedError):
        embed(photos, tmp_path / name if name else "")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photos"]
