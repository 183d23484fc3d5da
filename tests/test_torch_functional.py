"""The torch face's functions: torch's own where torch has them, the NumPy face's where it has not.

Property tests over geometry, dtype, memory layout, number of axes and batches. Selections (max and
min) must have the same bits, NaN, ties and signed zeros included, and the same indices; sums are
equal to rounding. The examples are the same on every run.
"""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

import poolwise as pw
import poolwise.torch as pt

HALVES = [torch.float16, torch.bfloat16]
FLOATS = [*HALVES, torch.float32, torch.float64]
INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
SPECIAL = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0]
DIMS = [1, 2, 3]
EXAMPLES = settings(max_examples=150, derandomize=True)
CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def last(x: torch.Tensor, axis: int) -> torch.Tensor:
    """The same tensor, with `axis` innermost in memory."""
    return x.movedim(axis, -1).contiguous().movedim(-1, axis)


# Each takes (N, C, ...) or (C, ...) and the number of pooled axes, and keeps values or copies rows.
LAYOUTS = {
    "contiguous": lambda x, n: x.contiguous(),
    "channels last": lambda x, n: last(x, -n - 1),
    "first axis last": lambda x, n: last(x, 0),
    "transposed": lambda x, n: last(x, -n),
    "strided": lambda x, n: x.repeat_interleave(2, -1)[..., ::2],
    "offset": lambda x, n: torch.cat([x[:1], x])[1:],
    "expanded": lambda x, n: x[:1].expand(x.shape),
    "expanded columns": lambda x, n: x[..., :1].expand(x.shape),
}


def make(shape: tuple[int, ...], dtype: torch.dtype, seed: int, kind: str) -> torch.Tensor:
    """Small whole numbers with many ties, "special" numbers, only -inf, or "any" numbers."""
    rng = np.random.default_rng(seed)
    if dtype in INTEGERS:
        return torch.tensor(rng.integers(0 if dtype == torch.uint8 else -4, 5, shape)).to(dtype)
    if kind == "special":
        return torch.tensor(rng.choice(SPECIAL, shape)).to(dtype)
    if kind == "lowest":
        return torch.full(shape, -math.inf).to(dtype)
    numbers = rng.integers(-4, 5, shape) if kind == "ties" else rng.standard_normal(shape)
    return torch.tensor(numbers.astype(float)).to(dtype)


def bits(x: torch.Tensor) -> torch.Tensor:
    """Floats as integers, so that -0.0 differs from 0.0, with every NaN made the same."""
    if not x.dtype.is_floating_point:
        return x
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[x.dtype.itemsize]
    return torch.where(x.isnan(), torch.full_like(x, torch.nan), x).contiguous().view(integer)


def same_bits(x: torch.Tensor, expected: torch.Tensor) -> bool:
    return x.dtype == expected.dtype and torch.equal(bits(x), bits(expected))


def close(x: torch.Tensor, expected: torch.Tensor) -> None:
    rounding = {torch.float64: 1e-13, torch.float32: 3e-6, torch.float16: 1e-3}
    by = rounding.get(expected.dtype, 8e-3)
    torch.testing.assert_close(x, expected, rtol=by, atol=by, equal_nan=True)


def to_numpy(x: torch.Tensor) -> np.ndarray[Any, Any]:
    if x.dtype == torch.bfloat16:
        return x.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    return x.numpy()


def from_numpy(a: Any) -> torch.Tensor:
    a = np.ascontiguousarray(a)
    if a.dtype == ml_dtypes.bfloat16:
        return torch.tensor(a.view(np.int16)).view(torch.bfloat16)
    return torch.tensor(a)


def wide(x: torch.Tensor) -> torch.Tensor:
    """What torch can pool at full precision: it has few kernels for integers and halves."""
    return x.float() if x.dtype in HALVES else x.double() if x.dtype in INTEGERS else x


@st.composite
def cases(draw: st.DrawFn, dtypes: list[torch.dtype], kinds: tuple[str, ...] = ("any",)) -> Any:
    """An input in some layout, and a geometry that fits it (padding within torch's limit)."""
    n = draw(st.sampled_from(DIMS))
    kernel, stride, padding, dilation, shape = [], [], [], [], []
    for _ in range(n):
        k, s, d = (draw(st.integers(1, high)) for high in (4, 4, 2))
        kernel.append(k)
        stride.append(s)
        dilation.append(d)
        padding.append(draw(st.integers(0, k // 2)))
        span = d * (k - 1) + 1  # and no window jumps over the input
        shape.append(draw(st.integers(max(span - 2 * padding[-1], d), span + 7)))
    lead = [draw(st.integers(1, 3)) for _ in range(draw(st.integers(1, 2)))]
    kind, seed = draw(st.sampled_from(kinds)), draw(st.integers(0, 2**32))
    x = make((*lead, *shape), draw(st.sampled_from(dtypes)), seed, kind)
    x = LAYOUTS[draw(st.sampled_from(list(LAYOUTS)))](x, n)
    names = ("kernel_size", "stride", "padding", "dilation")
    numbers = map(tuple, (kernel, stride, padding, dilation))
    geometry = dict(zip(names, numbers, strict=True))
    return n, x, geometry | {"ceil_mode": draw(st.booleans())}


@EXAMPLES
@given(cases(FLOATS + INTEGERS, ("ties", "special", "lowest", "any")))
def test_max_and_min_pool(case: Any) -> None:
    n, x, geometry = case
    theirs, mirrored = (getattr(functional, f"max_pool{n}d") for _ in range(2))
    plain = wide(x).contiguous()
    expected, where = theirs(plain, **geometry, return_indices=True)
    y, i = getattr(pt, f"max_pool{n}d")(x, **geometry, return_indices=True)
    assert same_bits(y, expected.to(x.dtype))
    assert same_bits(i, where)
    assert same_bits(getattr(pt, f"max_pool{n}d")(x, **geometry), y)
    expected, where = mirrored(-plain, **geometry, return_indices=True)
    y, i = getattr(pt, f"min_pool{n}d")(x, **geometry, return_indices=True)
    assert same_bits(y, (-expected).to(x.dtype))
    assert same_bits(i, where)
    assert same_bits(getattr(pt, f"min_pool{n}d")(x, **geometry), y)


@EXAMPLES
@given(cases(FLOATS, ("ties", "special", "any")))
def test_gradients_of_max_pool(case: Any) -> None:
    n, x, geometry = case
    x = x.detach().requires_grad_()
    plain = wide(x.detach()).contiguous().requires_grad_()
    y = getattr(pt, f"max_pool{n}d")(x, **geometry)
    expected = getattr(functional, f"max_pool{n}d")(plain, **geometry)
    assert same_bits(y.detach(), expected.detach().to(x.dtype))
    dy = make(tuple(y.shape), x.dtype, 3, "any")
    y.backward(dy)
    expected.backward(dy.to(plain.dtype))
    close(x.grad, plain.grad.to(x.dtype))


@EXAMPLES
@given(cases(FLOATS + INTEGERS), st.booleans(), st.sampled_from([None, 1, 7]))
def test_avg_and_sum_pool(case: Any, include: bool, divisor: int | None) -> None:
    n, x, geometry = case
    ours, sums = getattr(pt, f"avg_pool{n}d"), getattr(pt, f"sum_pool{n}d")
    more: dict[str, Any] = {"count_include_pad": include}
    if n > 1:
        more["divisor_override"] = divisor
    small = x.dtype.itemsize <= 2
    mean = x.dtype if x.dtype in FLOATS else torch.float32 if small else torch.float64
    # The NumPy face has dilation; torch has not, and is the reference where it can be.
    expected = from_numpy(pw.avg_pool(to_numpy(x), **geometry, **more))
    close(ours(x, **geometry, **more), expected.to(mean))
    total = from_numpy(pw.sum_pool(to_numpy(x), **geometry))
    close(sums(x, **geometry), total.to(x.dtype if x.dtype in FLOATS else torch.int64))
    del geometry["dilation"]
    if all(k <= size for k, size in zip(geometry["kernel_size"], x.shape[-n:], strict=True)):
        expected = getattr(functional, f"avg_pool{n}d")(wide(x).contiguous(), **geometry, **more)
        close(ours(x, **geometry, **more), expected.to(mean))


@EXAMPLES
@given(cases(FLOATS), st.sampled_from([1, 2, 2.5, 3, 4]))
def test_lp_pool(case: Any, p: float) -> None:
    n, x, geometry = case
    ours, theirs = (getattr(module, f"lp_pool{n}d") for module in (pt, functional))
    kernel, stride, ceil_mode = (geometry[k] for k in ("kernel_size", "stride", "ceil_mode"))
    kernel = tuple(min(k, size) for k, size in zip(kernel, x.shape[-n:], strict=True))
    if n == 1:
        kernel, stride = kernel[0], stride[0]  # torch takes no tuple here
    numpys = (kernel, stride) if n > 1 else ((kernel,), (stride,))
    expected = pw.lp_pool(to_numpy(x), p, *numpys, ceil_mode=ceil_mode)
    close(ours(x, p, kernel, stride, ceil_mode), from_numpy(expected))
    positive = x if p % 2 == 0 else x.abs()
    expected = theirs(wide(positive).contiguous(), p, kernel, stride)  # no partial windows
    close(ours(positive, p, kernel, stride), expected.to(x.dtype))


@EXAMPLES
@given(cases(FLOATS, ("ties", "special", "any")), st.data())
def test_adaptive_pooling(case: Any, data: st.DataObject) -> None:
    n, x, _ = case
    entry = st.none() | st.integers(1, 9) if n > 1 else st.integers(1, 9)
    size = data.draw(st.integers(1, 6) | st.tuples(*(entry,) * n))
    plain = wide(x).contiguous()
    theirs = getattr(functional, f"adaptive_max_pool{n}d")
    expected, where = theirs(plain, size, return_indices=True)
    y, i = getattr(pt, f"adaptive_max_pool{n}d")(x, size, return_indices=True)
    assert same_bits(y, expected.to(x.dtype))
    assert same_bits(i, where)
    assert same_bits(getattr(pt, f"adaptive_max_pool{n}d")(x, size), y)
    expected = getattr(functional, f"adaptive_avg_pool{n}d")(plain, size)
    close(getattr(pt, f"adaptive_avg_pool{n}d")(x, size), expected.to(x.dtype))


@EXAMPLES
@given(cases(FLOATS + INTEGERS, ("ties", "any")))
def test_max_unpool(case: Any) -> None:
    n, x, geometry = case
    pairs = list(zip(geometry["kernel_size"], x.shape[-n:], strict=True))
    kernel = tuple(min(k, size) for k, size in pairs)
    for axis, (k, size) in enumerate(pairs, start=-n):
        x = x.narrow(axis, 0, size - size % min(k, size))
    larger = [k + size - 1 for k, size in zip(kernel, x.shape[-n:], strict=True)]
    y, i = getattr(pt, f"max_pool{n}d")(x, kernel, return_indices=True)
    ours, theirs = (getattr(module, f"max_unpool{n}d") for module in (pt, functional))
    plain = (wide(y).contiguous(), i.contiguous(), kernel)
    for size in (
        None,
        tuple(x.shape[-n:]),
        larger,
        [*x.shape[:-n], *larger] if x.ndim > n + 1 else larger,
    ):
        expected = theirs(*plain, output_size=size)
        assert same_bits(ours(y, i, kernel, output_size=size), expected.to(x.dtype))


def test_a_window_that_jumps_over_the_input() -> None:
    x = torch.tensor([[3.0]], requires_grad=True)
    for name, empty in [("max_pool1d", -math.inf), ("min_pool1d", math.inf)]:
        y = getattr(pt, name)(x, 2, 1, 1, 2)
        assert y.tolist() == [[empty]]
        (dx,) = torch.autograd.grad(y, x, torch.ones(1, 1))
        assert dx.tolist() == [[0.0]]
        _, i = getattr(pt, name)(x, 2, 1, 1, 2, return_indices=True)
        assert i.tolist() == [
            [-1]
        ]  # as on the NumPy face; torch gives 1, which is beyond the input


NAMED: dict[str, Any] = {
    "max_pool": ((3, 2, 1), {}),
    "min_pool": ((3, 2, 1), {}),
    "avg_pool": ((3, 2, 1), {}),
    "sum_pool": ((3, 2, 1), {}),
    "lp_pool": ((2, 3, 2), {}),
    "adaptive_max_pool": ((3,), {}),
    "adaptive_avg_pool": ((3,), {}),
}


@pytest.mark.parametrize("n", DIMS)
@pytest.mark.parametrize("name", NAMED)
def test_the_output_has_the_inputs_memory_format(name: str, n: int) -> None:
    function, (args, _) = getattr(pt, f"{name}{n}d"), NAMED[name]
    x = torch.randn(2, 4, *(7, 8, 9)[:n])
    assert function(x, *args).is_contiguous()
    assert function(x[0], *args).is_contiguous()
    if n > 1:
        memory_format = CHANNELS_LAST[n + 2]
        y = function(x.contiguous(memory_format=memory_format), *args)
        assert y.stride() == torch.empty(y.shape).to(memory_format=memory_format).stride()
        torch.testing.assert_close(y, function(x, *args), rtol=1e-6, atol=1e-6)
        if "max" in name or "min" in name:
            pair = function(
                x.contiguous(memory_format=memory_format).requires_grad_(),
                *args,
                return_indices=True,
            )
            assert all(t.is_contiguous(memory_format=memory_format) for t in pair)
            if name == "max_pool":
                back = getattr(pt, f"max_unpool{n}d")(*pair, *args, output_size=x.shape)
                assert back.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS], ids=str)
@pytest.mark.parametrize("n", DIMS)
def test_zero_batches(n: int, dtype: torch.dtype) -> None:
    x = torch.zeros(0, 2, *(6, 7, 8)[:n], dtype=dtype)
    for name, (args, _) in NAMED.items():
        if dtype in INTEGERS and name in ("lp_pool", "adaptive_avg_pool"):
            continue
        one = getattr(pt, f"{name}{n}d")(torch.zeros(1, *x.shape[1:], dtype=dtype), *args)
        y = getattr(pt, f"{name}{n}d")(x, *args)
        assert y.shape == (0, *one.shape[1:])
        assert y.dtype == one.dtype
    y, i = getattr(pt, f"max_pool{n}d")(x, 2, return_indices=True)
    assert y.shape == i.shape == (0, 2, *(3, 3, 4)[:n])
    back = getattr(pt, f"max_unpool{n}d")(y, i, 2, output_size=x.shape)
    assert back.shape == x.shape
