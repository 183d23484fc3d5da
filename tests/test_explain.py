"""`poolwise explain`: its exact words for the survey's case, its counts against plain loops, its
picture, and what it says to bad arguments."""

from __future__ import annotations

import builtins
import random
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from poolwise.cli._explain_geometry import SlidingSpec, Spec, read, remedies
from poolwise.cli._explain_text import share
from poolwise.cli.explain import explain
from poolwise.windows import Windows

app = typer.Typer()
app.command()(explain)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), env={"COLUMNS": "200", "NO_COLOR": "1"})


def lines_of(*arguments: str) -> list[str]:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.output.splitlines()


def test_the_surveys_doubt_in_exact_words() -> None:
    assert run("--size", "14", "--bins", "4", "--rule", "training").output == (
        "map             14 x 14 = 196 cells\n"
        "pooling         --bins 4 --rule training\n"
        "\n"
        "output          4 x 4\n"
        "formula         size ceil(14/4) = 4, stride floor(14/4) = 3\n"
        "windows         0:4  3:7  6:10  9:13   (rows and columns)\n"
        "never read      27 of 196 cells (13.8 %): row 13; column 13\n"
        "read again      69 of 196 cells (35.2 %): rows 3, 6, 9; columns 3, 6, 9; up to 4 times\n"
        "\n"
        "to read all     --bins 4 --rule adaptive   (output 4 x 4)\n"
        "windows         0:4  3:7  7:11  10:14   (rows and columns)\n"
    )


def test_sliding_windows_of_a_map_that_is_not_square() -> None:
    lines = lines_of("--size", "14x20", "--kernel", "3", "--stride", "2")
    assert "output          6 x 9" in lines
    assert "row windows     0:3  2:5  4:7  6:9  8:11  10:13" in lines
    assert "never read      33 of 280 cells (11.8 %): row 13; column 19" in lines
    assert "to read all     --kernel 3 --stride 2 --ceil-mode   (output 7 x 10)" in lines
    assert "                --kernel 3 --stride 2 --padding 1   (output 7 x 10)" in lines


def test_a_pyramid_has_a_part_per_level_and_a_sum() -> None:
    lines = lines_of("--size", "14", "--levels", "1,2,4")
    assert [line for line in lines if line.startswith("output")] == [
        "output          1 x 1",
        "output          2 x 2",
        "output          4 x 4",
    ]
    assert "all levels      1 x 1 + 2 x 2 + 4 x 4 = 21 numbers per channel" in lines
    assert "to change       nothing: every cell is read" in lines


def test_a_training_pyramid_that_misses_cells_on_one_level() -> None:
    lines = lines_of("--size", "14", "--levels", "1,2x3,4", "--rule", "training")
    assert "never read      27 of 196 cells (13.8 %): row 13; column 13" in lines
    assert lines[-1].startswith("to read all     --levels 1,2x3,4 --rule adaptive")


@pytest.mark.parametrize(
    ("size", "bins", "problem", "output"),
    [
        ("10", "6", "10 rows, 6 bins: the formula gives 9 windows", "9 x 9"),
        ("11", "4", "11 columns, 4 bins: the formula gives 5 windows", "5 x 5"),
        ("3", "4", "3 rows, 4 bins: stride floor(3/4) = 0", "4 x 4"),
    ],
)
def test_poolings_that_cannot_be_built_are_shown(
    size: str, bins: str, problem: str, output: str
) -> None:
    lines = lines_of("--size", size, "--bins", bins, "--rule", "training")
    assert any(line.startswith("not possible") and problem in line for line in lines)
    assert f"would be        {output}, built as the formula says" in lines
    assert f"to read all     --bins {bins} --rule adaptive   (output {bins} x {bins})" in lines


def test_stride_zero_shows_that_all_windows_read_the_first_cell() -> None:
    lines = lines_of("--size", "3", "--bins", "4", "--rule", "training")
    assert "windows         0:1  0:1  0:1  0:1   (rows and columns)" in lines
    assert "never read      8 of 9 cells (88.9 %): rows 1-2; columns 1-2" in lines


def test_adaptive_is_the_rule_when_none_is_given() -> None:
    assert lines_of("--size", "14", "--bins", "4") == lines_of(
        "--size", "14", "--bins", "4", "--rule", "adaptive"
    )


def test_many_windows_and_rows_are_shortened() -> None:
    lines = lines_of("--size", "224", "--kernel", "3", "--stride", "2")
    assert any("...  220:223  (111 windows)" in line for line in lines)
    assert any("..., 220 (110 in all)" in line for line in lines)
    assert max(map(len, lines)) < 200


def random_sliding(rng: random.Random) -> tuple[SlidingSpec, tuple[int, int]]:
    def pair(low: int, high: int) -> tuple[int, int]:
        return rng.randint(low, high), rng.randint(low, high)

    spec = SlidingSpec(pair(1, 4), pair(1, 5), pair(0, 2), pair(1, 3), rng.random() < 0.5)
    return spec, pair(10, 17)


def test_counts_agree_with_plain_loops() -> None:
    rng = random.Random(14)
    for _ in range(200):
        spec, shape = random_sliding(rng)
        reading = read(Spec(sliding=spec), shape)
        times = np.zeros(shape, dtype=int)
        (grid,) = reading.grids
        rows, columns = grid.output_shape
        for i in range(rows):
            for j in range(columns):
                for u in range(spec.kernel[0]):
                    for v in range(spec.kernel[1]):
                        row = i * spec.stride[0] - spec.padding[0] + u * spec.dilation[0]
                        column = j * spec.stride[1] - spec.padding[1] + v * spec.dilation[1]
                        if 0 <= row < shape[0] and 0 <= column < shape[1]:
                            times[row, column] += 1
        counted = ((times == 0).sum(), (times == 1).sum(), (times > 1).sum())
        assert reading.totals() == counted
        np.testing.assert_array_equal(reading.coverage(), times)
        assert reading.reads_everything() == (counted[0] == 0)


def test_counts_of_a_pyramid_agree_with_its_coverage() -> None:
    for size in range(1, 20):
        for training in (False, True):
            levels = ((1, 1), (2, 3), (4, 4))
            reading = read(Spec(levels=levels, training=training, is_pyramid=True), (size, 14))
            times = reading.coverage()
            counted = ((times == 0).sum(), (times == 1).sum(), (times > 1).sum())
            assert reading.totals() == counted
            if not training:
                np.testing.assert_array_equal(
                    times, Windows.pyramid(levels).over((size, 14)).coverage()
                )


def test_every_remedy_reads_every_cell() -> None:
    rng = random.Random(4)
    offered = 0
    for _ in range(200):
        spec, shape = random_sliding(rng)
        reading = read(Spec(sliding=spec), shape)
        if reading.reads_everything():
            continue
        found = remedies(reading)
        assert found
        assert all(remedy.coverage().min() >= 1 for remedy in found)
        assert found[-1].grids[0].output_shape == reading.grids[0].output_shape
        offered += len(found) > 1
    assert offered > 50


def test_training_is_right_for_277_of_512_and_adaptive_for_all() -> None:
    right = {True: 0, False: 0}
    for size in range(1, 65):
        for bins in range(1, 9):
            for training in right:
                reading = read(Spec(levels=((bins, bins),), training=training), (size, size))
                right[training] += reading.reads_everything()
    assert right == {True: 277, False: 512}


def test_share_never_rounds_some_to_none_nor_almost_to_all() -> None:
    assert share(0, 10) == "none"
    assert share(1, 10**6) == "1 of 1000000 cells (< 0.1 %)"
    assert share(10**6 - 1, 10**6) == "999999 of 1000000 cells (> 99.9 %)"
    assert share(10, 10) == "10 of 10 cells (100.0 %)"


def test_a_huge_map_costs_no_map_of_memory() -> None:
    lines = lines_of("--size", "65536", "--kernel", "3", "--stride", "2")
    assert "never read      131071 of 4294967296 cells (< 0.1 %): row 65535; column 65535" in lines


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_the_picture_is_made(suffix: str, tmp_path: Path) -> None:
    picture = tmp_path / f"picture{suffix}"
    arguments = ("--size", "14", "--bins", "4", "--rule", "training", "-o", str(picture))
    assert lines_of(*arguments)[-1] == f"{picture} drawn"
    assert picture.stat().st_size > 2000


def test_the_picture_shows_the_cells_never_read_in_their_colour(tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    lines_of("--size", "14", "--bins", "4", "--rule", "training", "-o", str(picture))
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=int)
    red = np.abs(pixels - (0xD9, 0x48, 0x2B)).sum(axis=2) < 6
    blue = np.abs(pixels - (0xB9, 0xD3, 0xEA)).sum(axis=2) < 6
    assert min(pixels.shape[:2]) > 800
    # 27 and 69 - 9 of 196 cells: their areas are in that ratio, less the outlines drawn over them.
    assert 0.35 < red.sum() / blue.sum() < 0.65


@pytest.mark.parametrize(
    "arguments",
    [
        ("--size", "224", "--kernel", "3", "--stride", "2"),
        ("--size", "14x200", "--levels", "1,2,4", "--rule", "training"),
        ("--size", "9x1", "--kernel", "2x1", "--padding", "1x0", "--dilation", "2x1"),
        ("--size", "3", "--bins", "4", "--rule", "training"),
        ("--size", "5", "--kernel", "1", "--stride", "1", "--padding", "3"),
    ],
)
def test_other_shapes_are_drawn_too(arguments: tuple[str, ...], tmp_path: Path) -> None:
    picture = tmp_path / "picture.png"
    lines_of(*arguments, "-o", str(picture))
    with Image.open(picture) as image:
        assert min(image.size) > 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--size", "14"), "give one of --bins, --levels and --kernel"),
        (("--size", "14", "--bins", "4", "--kernel", "3"), "give one of --bins, --levels"),
        (("--size", "14", "--kernel", "3", "--rule", "training"), "--rule is for --bins"),
        (("--size", "14", "--bins", "4", "--stride", "2"), "need --kernel"),
        (("--size", "14", "--bins", "4", "--ceil-mode"), "need --kernel"),
        (("--size", "0", "--bins", "4"), "--size takes one number or ROWSxCOLUMNS"),
        (("--size", "-3", "--bins", "4"), "--size takes one number"),
        (("--size", "14x14x14", "--bins", "4"), "--size takes one number"),
        (("--size", "big", "--bins", "4"), "got 'big'"),
        (("--size", "14", "--bins", "0"), "--bins takes one number"),
        (("--size", "14", "--bins", "99999999999999999999"), "--bins takes one number"),
        (("--size", "14", "--levels", "1,,4"), "--levels takes one number"),
        (("--size", "14", "--levels", ",".join("1" * 40)), "at most 12 grids, got 40"),
        (("--size", "14", "--kernel", "3", "--stride", "0"), "--stride takes one number"),
        (("--size", "14", "--kernel", "3", "--padding", "-1"), "--padding takes one number"),
        (("--size", "14", "--kernel", "15"), "wider than the padded input of 14"),
        (("--size", "14", "--bins", "4", "-o", "picture.bmp"), ".pdf, .png, .svg"),
        (("--size", "5000", "--bins", "4", "-o", "picture.png"), "draws maps up to 2048"),
        (("--size", "14", "--bins", "4", "--rule", "magic"), "magic"),
        ((), "--size"),
    ],
)
def test_bad_arguments_exit_2_and_say_why(arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_a_picture_that_cannot_be_written(tmp_path: Path) -> None:
    picture = tmp_path / "no such folder" / "picture.png"
    result = run("--size", "14", "--bins", "4", "-o", str(picture))
    assert result.exit_code == 1
    assert "could not be written" in result.output


def test_without_matplotlib_the_text_is_there_and_the_remedy_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if name.partition(".")[0] == "matplotlib":
            raise ModuleNotFoundError("no matplotlib", name="matplotlib")
        return original(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    result = run("--size", "14", "--bins", "4", "-o", str(tmp_path / "picture.png"))
    assert result.exit_code == 1
    assert "output          4 x 4" in result.output
    assert "drawing needs matplotlib: pip install matplotlib" in result.output
