"""Spatial pyramid pooling: exact against slices, for every size, alone, in batches and in lists."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import poolwise as pw

RNG = np.random.default_rng(3)
LEVELS = tuple(range(1, 9))


def by_slices(x, levels, reduce):
    """SPP-net's Appendix A, bin by bin, in NumPy: (C, H, W) to (C * sum of bins,)."""
    parts = []
    _, h, w = x.shape
    for level in levels:
        rows, columns = level if isinstance(level, tuple) else (level, level)
        grid = np.empty((x.shape[0], rows, columns), x.dtype)
        for i, j in np.ndindex(rows, columns):
            top, bottom = i * h // rows, -(-(i + 1) * h // rows)
            left, right = j * w // columns, -(-(j + 1) * w // columns)
            grid[:, i, j] = reduce(x[:, top:bottom, left:right], axis=(1, 2))
        parts.append(grid.reshape(-1))
    return np.concatenate(parts)


@pytest.mark.parametrize("a", range(1, 65))
def test_every_size_and_every_level(a: int) -> None:
    """a in 1..64, n in 1..8 (a < n too), square and not: sums of whole numbers are exact."""
    for shape in {(2, a, a), (2, a, 65 - a)}:
        x = RNG.integers(-50, 50, shape).astype("f4")
        for name, reduce in (("max", np.max), ("sum", np.sum)):
            assert np.array_equal(
                pw.spatial_pyramid_pool(x, LEVELS, name), by_slices(x, LEVELS, reduce)
            )


def test_the_mean_of_every_bin() -> None:
    for shape in [(2, 14, 14), (1, 3, 11), (3, 64, 5)]:
        x = RNG.random(shape)
        y = pw.spatial_pyramid_pool(x, LEVELS, "mean")
        assert y == pytest.approx(by_slices(x, LEVELS, np.mean), rel=1e-12)


def test_conv5_of_the_survey_gives_5376_numbers() -> None:
    sizes = [(14, 14), (10, 13), (7, 31), (3, 3), (1, 1), (64, 40)]
    maps = [RNG.random((256, *size), dtype=np.float32) for size in sizes]
    for m in maps:
        y = pw.spatial_pyramid_pool(m)
        assert y.shape == (5376,)
        assert np.array_equal(y[:256], m.max(axis=(1, 2)))
        assert np.array_equal(y, by_slices(m, (1, 2, 4), np.max))
    assert np.array_equal(pw.spatial_pyramid_pool(maps), [pw.spatial_pyramid_pool(m) for m in maps])


def test_levels_may_be_rows_and_columns() -> None:
    x = RNG.random((3, 9, 20))
    levels = ((1, 3), 2, (4, 1))
    assert np.array_equal(pw.spatial_pyramid_pool(x, levels), by_slices(x, levels, np.max))


def test_batch_is_row_by_row() -> None:
    x = RNG.random((4, 3, 9, 11))
    y = pw.spatial_pyramid_pool(x, (3, 1))
    assert np.array_equal(y, [by_slices(m, (3, 1), np.max) for m in x])
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    assert np.array_equal(pw.spatial_pyramid_pool(last, (3, 1)), y)
    assert pw.spatial_pyramid_pool(x[:0], (3, 1)).shape == (0, 30)
    assert pw.spatial_pyramid_pool(x[:, :0], (3, 1)).shape == (4, 0)


def test_the_same_numbers_as_pool_in_another_order() -> None:
    x = RNG.random((2, 3, 6, 7))
    flat = pw.spatial_pyramid_pool(x, (1, 2), "mean")
    bins = pw.pool(x, pw.Windows.pyramid((1, 2)), "mean")
    assert bins.shape == (2, 3, 5)
    assert np.array_equal(flat[:, :3], bins[..., 0])
    assert np.array_equal(flat[:, 3:].reshape(2, 3, 4), bins[..., 1:])


@pytest.mark.parametrize(
    ("dtype", "result"),
    [("f2", "f2"), (ml_dtypes.bfloat16, ml_dtypes.bfloat16), ("f8", "f8"), ("u1", "f4"),
     ("bool", "f4"), ("i4", "f8")],
)  # fmt: skip
def test_dtypes_of_lists(dtype, result) -> None:
    maps = [np.ones((2, 3, 4), dtype), np.ones((2, 1, 1), dtype)]
    y = pw.spatial_pyramid_pool(maps, (1, 2), "mean")
    assert (y.dtype, y.shape) == (np.dtype(result), (2, 10))
    assert (y == np.ones(1, result)).all()
    assert pw.spatial_pyramid_pool(maps, (1, 2), "max").dtype == np.dtype(dtype)


def test_a_long_list() -> None:
    maps = [RNG.random((4, *RNG.integers(1, 20, 2)), dtype=np.float32) for _ in range(200)]
    y = pw.spatial_pyramid_pool(maps, (1, 3))
    assert np.array_equal(y, [by_slices(m, (1, 3), np.max) for m in maps])


def test_lists_of_odd_layouts() -> None:
    x = RNG.random((3, 6, 8)).astype("f4")
    maps = [x, x[::-1, :, ::-1], x.transpose(0, 2, 1), x.astype(">f4"), x.tolist()]
    maps[-1] = np.asarray(maps[-1], "f4")
    y = pw.spatial_pyramid_pool(tuple(maps), (1, 2))
    assert np.array_equal(y, [by_slices(np.asarray(m, "f4"), (1, 2), np.max) for m in maps])


def test_out() -> None:
    x = RNG.random((2, 3, 6, 7))
    expected = pw.spatial_pyramid_pool(x, (1, 2))
    out = np.empty((2, 30))[:, ::2]
    assert pw.spatial_pyramid_pool(x, (1, 2), out=out) is out
    assert np.array_equal(out, expected)
    out = np.empty((2, 15))
    assert pw.spatial_pyramid_pool(list(x), (1, 2), out=out) is out
    assert np.array_equal(out, expected)
    row = np.empty(30)[::-2]
    assert pw.spatial_pyramid_pool(x[0], (1, 2), out=row) is row
    assert np.array_equal(row, expected[0])
    with pytest.raises(ValueError, match="out has shape"):
        pw.spatial_pyramid_pool(list(x), (1, 2), out=np.empty((2, 16)))
    with pytest.raises(ValueError, match="shares memory"):
        pw.spatial_pyramid_pool([out[:1].reshape(1, 3, 5)], (1,), out=out[:1, :1])


def test_the_training_rule() -> None:
    x = RNG.random((2, 14, 14))
    y = pw.spatial_pyramid_pool(x, (4,), bins="training")
    expected = np.lib.stride_tricks.sliding_window_view(x, (4, 4), (1, 2))[:, ::3, ::3]
    assert np.array_equal(y.reshape(2, 4, 4), expected.max(axis=(3, 4)))
    with pytest.raises(ValueError, match=r"x\[1\].*9 bins instead of 6"):
        pw.spatial_pyramid_pool([x[:, :12, :12], x[:, :10, :10]], (6,), bins="training")


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([], ValueError, "empty"),
        ((), ValueError, "empty"),
        (
            [np.ones((2, 3, 3), "f4"), np.ones((2, 3, 3))],
            TypeError,
            "mixes dtypes.*float32.*float64",
        ),
        ([np.ones((2, 3, 3)), np.ones((2, 3, 3), "i4")], TypeError, "mixes dtypes"),
        ([np.ones((2, 3, 3)), np.ones((3, 3, 3))], ValueError, "mixes channel counts"),
        ([np.ones((2, 3, 3)), np.ones((3, 3))], ValueError, r"x\[1\] has shape \(3, 3\)"),
        ([np.ones((1, 2, 3, 3))], ValueError, r"x\[0\] has shape"),
        ([np.ones((2, 3, 3)), np.ones((2, 0, 3))], ValueError, r"x\[1\].*nothing to pool"),
        ([np.ones((2, 3, 3)), "cat"], TypeError, r"x\[1\] has dtype"),
        ([np.ones((2, 3, 3)), None], TypeError, r"x\[1\] must be an array"),
        (np.ones((3, 3)), ValueError, r"x has shape \(3, 3\)"),
        (np.ones((1, 1, 1, 3, 3)), ValueError, "x has shape"),
        (np.ones((2, 0, 3)), ValueError, "nothing to pool"),
        (iter([np.ones((2, 3, 3))]), TypeError, "x must be an array"),
    ],
)
def test_bad_maps(x, error, message) -> None:
    with pytest.raises(error, match=message):
        pw.spatial_pyramid_pool(x)


@pytest.mark.parametrize(
    ("levels", "error"),
    [((), ValueError), (3, TypeError), ("124", TypeError), ((0,), ValueError), ((2.0,), TypeError),
     (((1, 2, 3),), ValueError), (((2,),), ValueError), (((1, 2), (1, 2, 3)), ValueError),
     (((),), ValueError), (None, TypeError), ((2**40,), MemoryError), ((2**63,), ValueError)],
)  # fmt: skip
def test_bad_levels(levels, error) -> None:
    with pytest.raises(error):
        pw.spatial_pyramid_pool(np.ones((2, 4, 4)), levels)
    with pytest.raises(error):
        pw.spatial_pyramid_pool([np.ones((2, 4, 4))], levels)
