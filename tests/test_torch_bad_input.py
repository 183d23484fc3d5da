"""Wrong arguments of the torch face: one clear error that names the argument, and no allocation.

ValueError or TypeError as on the NumPy face (a result beyond the machine's memory is a MemoryError
there), never a crash, never a RuntimeError out of torch's depths.
"""

from __future__ import annotations

import inspect
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
import torch

import poolwise.torch as pt

DIMS = [1, 2, 3]
HUGE = [2**31, 2**32 + 1, 2**42, 2**62, 2**63 - 1, 9132760301568586890, 2**64, 10**30]
KINDS = ["max_pool", "min_pool", "avg_pool", "sum_pool"]


def image(n: int, lead: tuple[int, ...] = (2, 3)) -> torch.Tensor:
    return torch.ones(*lead, *(8, 9, 10)[:n])


def unpooled(n: int) -> dict[str, Any]:
    x = image(n)
    return {"input": x, "indices": torch.zeros(x.shape, dtype=torch.int64), "kernel_size": 2}


# One good call of every function: a bad one differs from it in one argument.
GOOD: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "spatial_pyramid_pool2d": (pt.spatial_pyramid_pool2d, {"input": image(2), "levels": (1, 2)}),
}
for n in DIMS:
    for kind in KINDS:
        GOOD[f"{kind}{n}d"] = (getattr(pt, f"{kind}{n}d"), {"input": image(n), "kernel_size": 3})
    for kind in ("adaptive_max_pool", "adaptive_avg_pool"):
        GOOD[f"{kind}{n}d"] = (getattr(pt, f"{kind}{n}d"), {"input": image(n), "output_size": 3})
    lp = {"input": image(n), "norm_type": 2, "kernel_size": 3}
    GOOD[f"lp_pool{n}d"] = (getattr(pt, f"lp_pool{n}d"), lp)
    GOOD[f"max_unpool{n}d"] = (getattr(pt, f"max_unpool{n}d"), unpooled(n))

NUMBERS = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1, "output_size": 1}
BAD: dict[str, list[Any]] = {
    "kernel_size": [0, -1, 1.5, "3", None, (), (3, 0), (2,) * 4, float("nan"), [[3]], 1j],
    "stride": [0, -1, 1.5, "2", (1, 0, 1), (2,) * 4, float("inf")],
    "padding": [-1, 2, 0.5, "sane", (1,) * 4, None, (-1,), (0, 3), float("nan")],
    "dilation": [0, -1, 1.5, "1", (1,) * 4, None, (0,)],
    "output_size": [0, -1, 1.5, "3", (), (3, -1), (2,) * 4, float("nan"), 1j],
    "levels": [0, 3, (), (0,), (-1,), (1.5,), ((1, 2, 3),), "12", None, ((1, 0),)],
    "reducer": ["median", None, 3, "lp"],
    "bins": ["SPP", None, 1],
    "norm_type": [0, -1, "2", None, float("nan")],
    "divisor_override": [0, 1.5, "2"],
    "input": [None, "image", 3, [[1.0, 2.0]], image(1, ()).to(torch.complex64)[0]],
    "indices": [None, "indices", [[0]], 3],
}
CASES = [
    pytest.param(name, argument, value, id=f"{name}-{argument}-{value}")
    for name, (function, arguments) in GOOD.items()
    for argument, values in BAD.items()
    if argument in inspect.signature(function).parameters
    and not ("unpool" in name and argument == "output_size")
    for value in values
    if not ("unpool" in name and argument == "padding" and value in (2, (0, 3)))  # no limit there
]
LARGE = [
    pytest.param(name, argument, value, id=f"{name}-{argument}-{value}")
    for name, (function, arguments) in GOOD.items()
    for argument in ("kernel_size", "padding", "dilation", "output_size", "levels")
    if argument in inspect.signature(function).parameters
    and not ("unpool" in name and argument != "kernel_size")
    for number in HUGE
    if argument not in ("output_size", "levels") or number >= 2**42  # may be had where memory is
    for value in ((number, (number,)) if argument != "levels" else ((number,), (1, (number, 2))))
]


def attempt(name: str, argument: str, value: object) -> tuple[BaseException, int]:
    """Make the call with one bad value; return what it raised, and the peak of Python's memory."""
    function, arguments = GOOD[name]
    tracemalloc.start()
    try:
        result = function(**{**arguments, argument: value})
    except Exception as error:
        return error, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    raise AssertionError(f"no error, but {result}")


def test_the_good_calls_are_good() -> None:
    for function, arguments in GOOD.values():
        assert isinstance(function(**arguments), torch.Tensor)


@pytest.mark.parametrize(("name", "argument", "value"), CASES)
def test_bad_values_are_named(name: str, argument: str, value: object) -> None:
    error, peak = attempt(name, argument, value)
    assert type(error) in (ValueError, TypeError), f"{error!r}"
    assert argument in str(error)
    assert 10 < len(str(error)) < 400
    assert peak < 2**20


@pytest.mark.parametrize(("name", "argument", "value"), LARGE)
def test_huge_numbers_allocate_nothing(name: str, argument: str, value: object) -> None:
    error, peak = attempt(name, argument, value)
    assert isinstance(error, ValueError | MemoryError), f"{error!r}"
    if isinstance(error, ValueError):
        words = (argument, "64 bits", *(("bins",) if argument == "levels" else ()))
        assert any(word in str(error) for word in words), str(error)
    assert peak < 2**20


@pytest.mark.parametrize("name", [f"{kind}{n}d" for kind in KINDS for n in DIMS])
@pytest.mark.parametrize("stride", HUGE)
def test_a_huge_stride_means_one_window(name: str, stride: int) -> None:
    function, arguments = GOOD[name]
    if stride < 2**63 - 1:
        y = function(**arguments, stride=stride)
        assert y.shape == (2, 3, *(1,) * int(name[-2]))
    else:  # beyond what checked 64-bit sums hold
        with pytest.raises(ValueError, match="stride"):
            function(**arguments, stride=stride)


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
def test_complex_input(name: str, dtype: torch.dtype) -> None:
    function, arguments = GOOD[name]
    with pytest.raises(TypeError, match=r"input.*complex"):
        function(**{**arguments, "input": arguments["input"].to(dtype)})


@pytest.mark.parametrize("name", GOOD)
def test_shapes_that_are_no_images(name: str) -> None:
    function, arguments = GOOD[name]
    n = int(name[-2])
    for lead in [(2, 1, 1), (2, 1, 1, 1, 1)]:
        assert_refused(function, arguments, torch.ones(*lead, *(8,) * n))
    for shape in [(), (8,) * n]:
        assert_refused(function, arguments, torch.ones(shape))
    for axis in range(n):
        for lead in [(3,), (2, 3), (0, 3)]:
            sizes = [8] * n
            sizes[axis] = 0
            assert_refused(function, arguments, torch.ones(*lead, *sizes))


def assert_refused(function: Any, arguments: dict[str, Any], x: torch.Tensor) -> None:
    call = {**arguments, "input": x}
    if "indices" in arguments:
        call["indices"] = torch.zeros(x.shape, dtype=torch.int64)
    with pytest.raises((ValueError, TypeError)) as raised:
        function(**call)
    assert "input" in str(raised.value)


@pytest.mark.parametrize("n", DIMS)
@pytest.mark.parametrize("kind", KINDS)
def test_padding_beyond_torchs_limit(kind: str, n: int) -> None:
    function, x = getattr(pt, f"{kind}{n}d"), image(n)
    for kernel, padding in [(1, 1), (2, 2), (3, 2), (4, 3), (5, (3,) * n)]:
        with pytest.raises(ValueError, match="padding"):
            function(x, kernel, 1, padding)
    assert function(x, 4, 1, 2).shape == (2, 3, *(9, 10, 11)[:n])
    assert function(x, 3, 1, 2, dilation=2).shape == (2, 3, *(8, 9, 10)[:n])  # half of 5 cells


@pytest.mark.parametrize("n", DIMS)
@pytest.mark.parametrize("bad", [-1, -2, -(2**40), "size", 2**31, 2**40, 2**63 - 1])
def test_bad_indices_never_write(n: int, bad: Any) -> None:
    x = image(n)
    y, i = getattr(pt, f"max_pool{n}d")(x, 2, return_indices=True)
    cells = x[0, 0].numel()
    i.view(-1)[-1] = cells if bad == "size" else bad
    with pytest.raises(ValueError, match="indices"):
        getattr(pt, f"max_unpool{n}d")(y, i, 2, output_size=x.shape)


@pytest.mark.parametrize("n", DIMS)
def test_indices_and_output_sizes_that_do_not_fit(n: int) -> None:
    x, unpool = image(n), getattr(pt, f"max_unpool{n}d")
    y, i = getattr(pt, f"max_pool{n}d")(x, 2, return_indices=True)
    for indices in (i[:1], i[..., :-1], i[0], i.double(), i.bool()):
        with pytest.raises((ValueError, TypeError), match="indices"):
            unpool(y, indices, 2)
    for size in [(0,) * n, (1,) * n, (10**6,) * n, (8,) * (n + 3), -1, "8", (9132760301568586890,)]:
        with pytest.raises((ValueError, TypeError), match="output_size"):
            unpool(y, i, 2, output_size=size)


def test_lists_of_maps_that_do_not_fit() -> None:
    one = torch.ones(3, 5, 5)
    for given in (
        [],
        [one, one[:2]],
        [one, one.double()],
        [one, one[None]],
        [one, "map"],
        [one, one[:, :0]],
        [one.to(torch.complex64)],
        [one, None],
    ):
        with pytest.raises((ValueError, TypeError), match="input"):
            pt.spatial_pyramid_pool2d(given)


@pytest.mark.parametrize("name", GOOD)
def test_unknown_arguments(name: str) -> None:
    function, arguments = GOOD[name]
    with pytest.raises(TypeError):
        function(**arguments, kernal_size=2)


def test_a_freed_storage_is_an_error() -> None:
    x = torch.rand(1, 3, 90, 90)
    x.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="freed"):
        pt.max_pool2d(x, 3)


def test_arguments_that_change_are_read_again() -> None:
    x, k = torch.rand(1, 2, 16, 16), torch.tensor(2)
    assert pt.max_pool2d(x, k).shape[-1] == 8
    k.fill_(4)
    assert pt.max_pool2d(x, k).shape[-1] == 4
    pt.max_pool2d(x, (9, 7))
    with pytest.raises(TypeError, match="kernel_size"):
        pt.max_pool2d(x, (9.0, 7.0))
