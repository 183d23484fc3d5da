"""Geometry: every table a plan gives, against the definitions of docs/semantics.md written out."""

from __future__ import annotations

import itertools
import math
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from poolwise import Windows
from poolwise.windows import training_bins

NASTY = (2**31, 2**32 + 1, 2**63 - 1, 9132760301568586890, 2**63, 10**30)


def cells_of(plan, i: int) -> range:
    """The cells window i of a one-axis plan reads, by its tables."""
    return range(plan.starts[0][i], plan.stops[0][i], plan.steps[0])


@given(
    size=st.integers(1, 30),
    kernel=st.integers(1, 9),
    stride=st.integers(1, 9),
    pads=st.tuples(st.integers(0, 12), st.integers(0, 12)),
    dilation=st.integers(1, 5),
    ceil_mode=st.booleans(),
)
def test_sliding_tables_are_the_definition(size, kernel, stride, pads, dilation, ceil_mode):
    before, after = pads
    span = dilation * (kernel - 1) + 1
    room = (size + before + after - span) / stride
    count = (math.ceil(room) if ceil_mode else math.floor(room)) + 1
    if ceil_mode and count > 1 and (count - 1) * stride >= size + before:
        count -= 1
    windows = Windows.sliding(kernel, stride, [pads], dilation, ceil_mode)
    if count < 1:
        with pytest.raises(ValueError, match="wider than the padded input"):
            windows.over(size)
        return
    plan = windows.over(size)
    assert plan.output_shape == (count,)
    coverage = [0] * size
    for i in range(count):
        taps = [i * stride - before + k * dilation for k in range(kernel)]
        inside = [t for t in taps if 0 <= t < size]
        assert list(cells_of(plan, i)) == inside
        assert plan.counts[i] == len(inside)
        assert plan.divisors[i] == sum(-before <= t < size + after for t in taps)
        for t in inside:
            coverage[t] += 1
    assert plan.coverage().tolist() == coverage


def test_output_shape_is_pytorchs() -> None:
    import torch
    from torch.nn import functional

    grid = itertools.product(
        range(1, 12), range(1, 6), range(1, 5), range(3), (1, 2), (False, True)
    )
    for size, kernel, stride, padding, dilation, ceil_mode in grid:
        if padding > kernel // 2:
            continue
        x = torch.zeros(1, 1, size)
        arguments = (kernel, stride, padding, dilation, ceil_mode)
        try:
            expected = functional.max_pool1d(x, *arguments).shape[-1]
        except RuntimeError:
            with pytest.raises(ValueError, match="kernel_size"):
                Windows.sliding(*arguments).over(size)
        else:
            assert Windows.sliding(*arguments).over(size).output_shape == (expected,)


@pytest.mark.parametrize("name", ["same", "same_upper", "same_lower"])
def test_same_padding_is_onnxs(name: str) -> None:
    for size, kernel, stride, dilation in itertools.product(
        range(1, 15), range(1, 6), range(1, 5), (1, 2)
    ):
        axis = Windows.sliding(kernel, stride, name, dilation).over(size).grids[0].axes[0]
        count = -(-size // stride)
        total = max((count - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
        less, more = total // 2, total - total // 2
        expected = (more, less) if name == "same_lower" else (less, more)
        assert (axis.count, axis.pad_before, axis.pad_after) == (count, *expected)


def test_valid_padding_is_none() -> None:
    assert Windows.sliding(3, 2, "valid") == Windows.sliding(3, 2, 0)


@given(size=st.integers(1, 40), n=st.integers(1, 50))
def test_adaptive_bins_are_the_definition(size: int, n: int) -> None:
    plan = Windows.adaptive(n).over(size)
    for i in range(n):
        assert plan.starts[0][i] == math.floor(i * size / n)
        assert plan.stops[0][i] == -(-(i + 1) * size // n)
    assert plan.coverage().min() >= 1
    assert plan.counts.tolist() == plan.divisors.tolist()
    assert plan.counts.sum() == plan.coverage().sum()


def test_training_rule_is_right_for_277_of_512_pairs_and_adaptive_for_all() -> None:
    right = adaptive = 0
    for size, n in itertools.product(range(1, 65), range(1, 9)):
        adaptive += Windows.pyramid([n]).over(size).coverage().min() > 0
        kernel, stride, count = training_bins(size, n)
        assert (kernel, stride) == (-(-size // n), size // n)
        windows = Windows.pyramid([n], bins="training")
        if count != n:
            with pytest.raises(ValueError, match='use bins="adaptive"'):
                windows.over(size)
        else:
            right += windows.over(size).coverage().min() > 0
    assert (right, adaptive) == (277, 512)


def test_known_cases_of_the_training_rule() -> None:
    coverage = Windows.pyramid([4], bins="training").over((14, 14)).coverage()
    assert coverage[13].max() == coverage[:, 13].max() == 0
    assert coverage[:13, :13].min() == 1
    for size, n, found in [(10, 6, "9 bins"), (11, 4, "5 bins"), (3, 4, "stride 0")]:
        with pytest.raises(ValueError, match=found):
            Windows.pyramid([n], bins="training").over(size)


def test_pyramid_lists_its_bins_in_order() -> None:
    plan = Windows.pyramid((1, (2, 3))).over((4, 9))
    assert plan.output_shape == (7,)
    rows, columns = plan.starts
    assert rows.tolist() == [0, 0, 0, 0, 2, 2, 2]
    assert columns.tolist() == [0, 0, 3, 6, 0, 3, 6]
    assert plan.stops[1].tolist() == [9, 3, 6, 9, 3, 6, 9]
    assert plan.counts.tolist() == [36, *[6] * 6]
    assert plan.coverage().tolist() == [[2] * 9] * 4
    assert not rows.flags.writeable


def test_many_axes() -> None:
    plan = Windows.sliding((2, 3, 2), 1).over((3, 5, 4))
    assert plan.output_shape == (2, 3, 3)
    expected = np.zeros((3, 5, 4), int)
    for i, j, k in np.ndindex(2, 3, 3):
        expected[i : i + 2, j : j + 3, k : k + 2] += 1
    assert np.array_equal(plan.coverage(), expected)
    assert plan.counts.shape == (2, 3, 3)


def test_adaptive_none_keeps_the_axis() -> None:
    plan = Windows.adaptive((None, 2)).over((5, 6))
    assert plan.output_shape == (5, 2)
    assert plan.starts[0].tolist() == [0, 1, 2, 3, 4]


def test_whole_takes_any_number_of_axes() -> None:
    assert Windows.whole().over((3, 4, 5, 6)).output_shape == (1, 1, 1, 1)
    assert Windows.whole().ndim is None


def test_a_tuple_anywhere_decides_the_number_of_axes() -> None:
    assert Windows.sliding(3, padding=(1, 1)).ndim == 2
    assert Windows.sliding(3, (1, 1, 1)).ndim == 3
    assert Windows.sliding(3, padding=[(0, 1)]).ndim == 1
    assert Windows.sliding(np.int32(3), np.array([1, 2])).ndim == 2
    assert Windows.pyramid((1, (2, 3))).ndim == 2


def test_windows_are_values() -> None:
    one, two = Windows.sliding(3, 2, 1), Windows.sliding([3], np.int64(2), [1])
    assert one == Windows.sliding(3, 2, 1)
    assert hash(one) == hash(Windows.sliding(3, 2, 1))
    assert one != two
    assert one.over((9,)) is Windows.sliding(3, 2, 1).over(9)
    assert pickle.loads(pickle.dumps(one)) == one
    assert hash(pickle.loads(pickle.dumps(one))) == hash(one)
    with pytest.raises(AttributeError):
        one.flat = True


def test_equal_numbers_of_the_wrong_kind_are_not_served_from_the_cache() -> None:
    Windows.sliding(1), Windows.sliding((1, 1)), Windows.pyramid((1,))
    for bad in (True, 1.0, (True, 1), (1.0, 1)):
        with pytest.raises(TypeError, match="kernel_size"):
            Windows.sliding(bad)
        with pytest.raises(TypeError, match="levels"):
            Windows.pyramid((bad,))


def test_reordered_permutes_the_axes() -> None:
    plan = Windows.sliding((2, 3)).reordered((1, 0)).over((9, 9))
    assert plan.output_shape == (3, 4)


def test_a_plan_costs_nothing_until_asked() -> None:
    tracemalloc.start()
    try:
        assert Windows.adaptive(2**40).over(14).output_shape == (2**40,)
        assert Windows.sliding(1, padding=2**40).over(14).output_shape == (2**41 + 14,)
        assert Windows.pyramid((2**20,)).over((14, 14)).output_shape == (2**40,)
        for ask in ("starts", "stops", "counts", "divisors"):
            for windows in (Windows.adaptive(2**50), Windows.pyramid([[2**50]])):
                with pytest.raises(MemoryError, match="GiB"):
                    getattr(windows.over(14), ask)
        with pytest.raises(MemoryError, match="GiB"):
            Windows.sliding(1).over(2**50).coverage()
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@given(
    size=st.integers(1, 9) | st.sampled_from(NASTY),
    kernel=st.integers(1, 3) | st.sampled_from(NASTY),
    stride=st.integers(1, 3) | st.sampled_from(NASTY),
    padding=st.integers(0, 3) | st.sampled_from(NASTY) | st.just("same"),
    dilation=st.integers(1, 3) | st.sampled_from(NASTY),
    ceil_mode=st.booleans(),
)
def test_arithmetic_never_leaves_int64(size, kernel, stride, padding, dilation, ceil_mode):
    try:
        axis = (
            Windows.sliding(kernel, stride, padding, dilation, ceil_mode)
            .over(size)
            .grids[0]
            .axes[0]
        )
    except ValueError:
        return
    last = (axis.count - 1) * axis.stride - axis.pad_before
    assert max(last + axis.span + axis.stride, axis.size + axis.pad_before + axis.pad_after) < 2**63
    assume(axis.count <= 10)
    assert ((axis.starts <= axis.stops) & (axis.stops <= axis.size)).all()
    assert ((axis.counts >= 0) & (axis.counts <= axis.divisors)).all()
