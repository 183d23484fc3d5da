"""Arrays in and out: every layout, every kind of array, and `out=`."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

import poolwise as pw

RNG = np.random.default_rng(13)
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


def make(shape, dtype="float64"):
    dtype = np.dtype(dtype)
    return RNG.integers(0 if dtype.kind == "u" else -9, 9, shape).astype(dtype)


def same_bits(a, b) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


LAYOUTS = {
    "contiguous": lambda a: a,
    "transposed": lambda a: np.ascontiguousarray(a.transpose(3, 1, 0, 2)).transpose(2, 1, 3, 0),
    "channels last": lambda a: np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "reversed": lambda a: a[::-1, ::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1, ::-1],
    "sliced": lambda a: np.repeat(np.repeat(a, 2, axis=3), 3, axis=2)[:, :, ::3, ::2],
    "fortran": np.asfortranarray,
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "byte-swapped": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "misaligned": lambda a: misaligned(a),
    "subclass": lambda a: a.view(type("Sub", (np.ndarray,), {})),
}


def misaligned(a):
    memory = np.empty(a.nbytes + 1, np.uint8)[1:]
    made = np.ndarray(a.shape, a.dtype, memory)
    made[...] = a
    assert not made.flags.aligned
    return made


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str, dtype: str) -> None:
    x = make((2, 3, 8, 9), dtype)
    other = LAYOUTS[layout](x)
    assert np.array_equal(x, other)
    for axes in [None, (1, 2), (0, 3), (0, 1)]:
        for call in (
            lambda a, axes=axes: pw.max_pool(a, 2, 1, axes=axes),
            lambda a, axes=axes: pw.avg_pool(a, 2, 1, 1, axes=axes),
            lambda a, axes=axes: pw.adaptive_avg_pool(a, 2, axes=axes),
            lambda a, axes=axes: pw.lp_pool(a, 2, 2, axes=axes),
        ):
            assert same_bits(call(other), call(x))


@pytest.mark.parametrize("dtype", ["float32", BFLOAT16, "uint8"], ids=str)
def test_out_is_written_and_returned(dtype) -> None:
    x = make((2, 3, 6, 6), dtype)
    expected = pw.max_pool(x, 2)
    for out in (
        np.empty((2, 3, 3, 3), dtype),
        np.empty((3, 2, 3, 3), dtype).transpose(1, 0, 2, 3),
        np.empty((2, 3, 3, 9), dtype)[..., ::-3],
    ):
        assert pw.max_pool(x, 2, out=out) is out
        assert np.array_equal(out, expected)
    values, _ = pw.max_pool(x, 2, out=out, return_indices=True)
    assert values is out
    both = np.zeros((2, 3, 6, 9), dtype)
    both[..., :6] = x
    pw.max_pool(both[..., :6], (2, 2), out=both[:, :, :3, 6:])  # side by side in one buffer
    assert np.array_equal(both[:, :, :3, 6:], expected)


def test_out_for_pyramids_and_dtypes() -> None:
    x = make((2, 3, 6, 6), "uint8")
    out = np.empty((2, 3, 10), "f4")[..., ::2]
    assert pw.pool(x, pw.Windows.pyramid((1, 2)), "mean", out=out) is out
    assert out[0, 0, 0] == np.float32(x[0, 0].mean())
    total = np.empty((2, 3, 3, 3), "int16")
    pw.sum_pool(x, 2, dtype="int16", out=total)
    assert total[0, 0, 0, 0] == x[0, 0, :2, :2].sum()


@pytest.mark.parametrize(
    ("out", "error"),
    [
        (np.empty((2, 3), "f4"), "shape"),
        (np.empty((2, 2), "f8"), "dtype"),
        (np.empty((2, 2), ">f4"), "dtype"),
        (np.broadcast_to(np.float32(0), (2, 2)), "read-only"),
        (np.lib.stride_tricks.as_strided(np.zeros(4, "f4"), (2, 2), (4, 4)), "twice"),
        (misaligned(np.zeros((2, 2), "f4")), "misaligned"),
        ([[0, 0], [0, 0]], "NumPy array"),
        (np.ma.zeros((2, 2), "f4"), "NumPy array"),
    ],
)
def test_bad_out(out, error: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f"out .*{error}"):
        pw.max_pool(np.zeros((4, 4), "f4"), 2, out=out)


def test_out_may_not_be_x() -> None:
    x = np.zeros((4, 4), "f4")
    with pytest.raises(ValueError, match="shares memory"):
        pw.max_pool(x, 3, 1, 1, out=x)
    with pytest.raises(ValueError, match="shares memory"):
        pw.max_pool(x, 2, out=x[1:3, 1:3])


class OnlyDlpack:
    """An array that can be had by DLPack alone."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **arguments):
        return self.array.__dlpack__(**arguments)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class OnlyArray:
    def __array__(self, dtype=None, copy=None):
        return np.arange(4.0)


def test_other_peoples_arrays() -> None:
    import torch

    assert pw.max_pool(OnlyArray(), 2).tolist() == [1, 3]
    assert pw.max_pool(OnlyDlpack(np.arange(4.0)), 2).tolist() == [1, 3]
    assert pw.max_pool(memoryview(b"\1\5\2\3"), 2).tolist() == [5, 3]
    assert pw.max_pool([[1, 2], [3, 4]], 2).tolist() == [[4]]
    tensor = torch.arange(8.0).reshape(2, 4)
    assert pw.max_pool(tensor.T, 2).tolist() == [[5], [7]]
    half = tensor.to(torch.bfloat16)
    y = pw.max_pool(half.T, 2)
    assert (y.dtype, y.tolist()) == (BFLOAT16, [[5], [7]])
    with pytest.raises(TypeError, match="detached"):
        pw.max_pool(tensor.requires_grad_(), 2)
    with pytest.raises(TypeError, match="detached"):
        pw.max_pool(torch.zeros(4, device="meta"), 2)


def test_values_and_indices_go_where_they_are_told() -> None:
    x = np.random.default_rng(5).standard_normal((2, 3, 9, 11)).astype(np.float32)
    for call in (
        lambda **more: pw.max_pool(x, 3, 2, 1, return_indices=True, **more),
        lambda **more: pw.min_pool(x, 2, return_indices=True, **more),
        lambda **more: pw.adaptive_max_pool(x, 4, return_indices=True, **more),
    ):
        y, i = call()
        out = np.empty_like(y), np.empty_like(i)
        given = call(out=out)
        assert given[0] is out[0]
        assert given[1] is out[1]
        assert np.array_equal(out[0], y)
        assert np.array_equal(out[1], i)
        with pytest.raises(TypeError, match=r"out\[1\] has dtype int32"):
            call(out=(out[0], out[1].astype(np.int32)))
        with pytest.raises(ValueError, match=r"out\[1\] has shape"):
            call(out=(out[0], out[1][0]))
        with pytest.raises(ValueError, match="tuple of 1"):
            call(out=(out[0],))
        memory = np.empty(i.nbytes, np.uint8)
        both = memory[: y.nbytes].view(y.dtype).reshape(y.shape), memory.view(i.dtype)
        with pytest.raises(ValueError, match=r"out\[1\] shares memory with x or the values"):
            call(out=(both[0], both[1].reshape(i.shape)))


def test_a_repeated_call_is_checked_like_the_first() -> None:
    x = np.arange(16, dtype=np.float32).reshape(4, 4)
    windows = pw.Windows.sliding(2)
    out = np.empty((2, 2), np.float32)
    for _ in range(3):
        assert pw.pool(x, windows, "max", out=out) is out
        assert np.array_equal(pw.pool(x, windows, "max", axes=(0, 1)), [[5, 7], [13, 15]])
        with pytest.raises(TypeError, match="axes"):
            pw.pool(x, windows, "max", axes=(False, 1.0))
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        pw.pool(x, windows, "max", out=out)
    buffer = np.zeros(24, np.float32)
    first, second = buffer[:16].reshape(4, 4), buffer[16:20].reshape(2, 2)
    for _ in range(3):
        pw.pool(first, windows, "max", out=second)
    with pytest.raises(ValueError, match="shares memory"):
        pw.pool(first, windows, "max", out=buffer[12:16].reshape(2, 2))
    apart = np.zeros((4, 8), np.float32)  # interleaved: their bounds overlap, their cells do not
    apart[:, ::2] = x
    for _ in range(3):
        inside = apart[:2, 1:5:2]
        assert np.array_equal(
            pw.pool(apart[:, ::2], windows, "max", out=inside), [[5, 7], [13, 15]]
        )


def test_out_may_not_lie_in_an_array_that_is_read_as_a_copy() -> None:
    windows = pw.Windows.sliding(2)
    swapped = np.arange(16, dtype=">f4").reshape(4, 4)
    misaligned = np.zeros(65, np.uint8)[1:].view(np.float32).reshape(4, 4)
    for x in (swapped, misaligned):
        inside = np.frombuffer(x.data if x is swapped else misaligned.base, np.uint8)
        out = inside[:16].view(np.float32).reshape(2, 2)
        with pytest.raises(ValueError, match="shares memory with x"):
            pw.pool(x, windows, out=out)
        with pytest.raises(ValueError, match=r"out\[0\] shares memory"):
            pw.max_pool(x, 2, return_indices=True, out=(out, None))
