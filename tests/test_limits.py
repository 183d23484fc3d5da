"""Geometry far beyond its data: right answers, and tables no larger than the data asks for."""

from __future__ import annotations

import dataclasses
import resource
from fractions import Fraction

import numpy as np
import pytest

import poolwise as pw
from poolwise import Windows, reducers


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_cached_calls_of_many_lengths_hold_no_tables_of_the_input() -> None:
    x = np.ones(2**20, np.float32)
    for length in range(2**20 - 40, 2**20 - 30):
        pw.pool(x[:length], Windows.whole(), "mean")
    before = peak_bytes()
    for length in range(2**20 - 30, 2**20):
        pw.pool(x[:length], Windows.whole(), "mean")
        _, pullback = pw.pool_vjp(x[:length], Windows.pyramid((1, 2, 4)), "sum")
        pullback(np.ones(7, np.float32))
    assert peak_bytes() - before < 2**28  # kept, they would come to 2.5 GB


def test_one_byte_seen_often_costs_no_memory() -> None:
    before = peak_bytes()
    assert pw.global_max_pool(np.broadcast_to(np.int8(3), (2**24,))) == 3
    assert peak_bytes() - before < 2**27


@pytest.mark.parametrize("dilation", [1, 3])
@pytest.mark.parametrize("reducer", ["sum", "mean"])
def test_a_gradient_costs_what_its_data_asks_for(reducer: str, dilation: int) -> None:
    x = np.arange(6.0)
    windows = Windows.sliding(2**28 // dilation, 2**30, [(7, 2**31)], dilation)
    y, pullback = pw.pool_vjp(x, windows, reducer)
    dx = pullback(np.ones_like(y))
    cells = 2**28 // dilation
    seen = np.arange(6) % dilation == (-7) % dilation if dilation > 1 else np.ones(6, bool)
    np.testing.assert_array_equal(dx, seen / (cells if reducer == "mean" else 1))


@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "padding"),
    [((1, 1), 2**32, 2**62, 2**31), ((1, 1, 1), (2**21,) * 3, 2**40, 2**20)],
)
def test_divisors_beyond_64_bits(
    shape: tuple[int, ...], kernel: int | tuple[int, ...], stride: int, padding: int
) -> None:
    windows = Windows.sliding(kernel, stride, padding)
    cells = 2.0**64 if len(shape) == 2 else 2.0**63
    axes = tuple(range(len(shape)))
    for dtype in (np.float32, np.float64):
        y, pullback = pw.pool_vjp(np.ones(shape, dtype), windows, "mean", axes=axes)
        assert y.item() == 1 / cells
        assert pullback(np.ones_like(y)).item() == 1 / cells
    whole = pw.pool(np.ones(shape, int), windows, "mean", axes=axes, dtype=int)
    assert whole.item() == 0
    with pytest.raises(ValueError, match="64 bits"):
        _ = windows.over(shape).divisors


def test_means_of_64_bit_integers_are_rounded_once() -> None:
    rng = np.random.default_rng(0)
    for dtype in (np.int64, np.uint64):
        limits = np.iinfo(dtype)
        x = rng.integers(limits.min, limits.max, (500, 7), dtype=dtype, endpoint=True)
        expected = [float(Fraction(sum(map(int, row)), 7)) for row in x]
        np.testing.assert_array_equal(pw.avg_pool(x, 7, axes=1)[:, 0], expected)


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"divisor_override": 0}, ValueError),
        ({"divisor_override": -3}, ValueError),
        ({"divisor_override": 2.5}, TypeError),
        ({"divisor_override": 2**70}, ValueError),
        ({"count_include_pad": None}, TypeError),
        ({"p": True}, TypeError),
        ({"p": "2"}, TypeError),
        ({"p": 2}, ValueError),
    ],
)
def test_a_reducer_made_by_hand_is_checked(fields: dict[str, object], error: type) -> None:
    with pytest.raises(error):
        dataclasses.replace(reducers.mean, **fields)
    with pytest.raises((TypeError, ValueError)):
        pw.Reducer("lp", 2**2000)


def test_windows_made_by_hand_are_checked() -> None:
    with pytest.raises(TypeError, match="levels"):
        Windows((1, 2))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="empty"):
        Windows(())
    with pytest.raises(ValueError, match="order"):
        Windows.sliding((1, 2)).reordered((1, 2))


@pytest.mark.parametrize(("kernel", "stride"), [((2, 2), (65536, 2)), ((7, 7), (65536, 1))])
def test_winners_in_a_plane_of_more_cells_than_32_bits_count(
    kernel: tuple[int, int], stride: tuple[int, int]
) -> None:
    try:
        x = np.zeros((2**20 + 9, 2048), np.float32)  # (memory that nobody writes is not there)
    except MemoryError:
        pytest.skip("no room for 8 GB of zeros")
    x[0, 64:128] = np.arange(64)
    x[2**20, 5] = 1
    y, places = pw.max_pool(x, kernel, stride, return_indices=True)
    columns = np.lib.stride_tricks.sliding_window_view(x[: kernel[0]].max(0), kernel[1])
    np.testing.assert_array_equal(y[0], columns[:: stride[1]].max(1))
    np.testing.assert_array_equal(x.reshape(-1)[places], y)
    assert places[16, 4 // stride[1]] == 2**31 + 5
