"""Tests that others wrote: every pooling entry of PyTorch's own operator database.

For each entry all sample inputs in all dtypes that torch supports on a CPU, forward, backward and
(float64) second derivative against torch's own function, and its error inputs, which must raise.
Fractional max pooling is out of scope. ``python tests/test_torch_op_db.py`` prints a table of what
was checked, and so does ``pytest -s``.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import pytest
import torch

import poolwise as pw
import poolwise.torch as pt
from poolwise.torch.spelling import windows_text

BACKWARD = "max_pool2d_with_indices_backward"
# The entries of torch 2.13.0 with their sample inputs of one dtype and their error inputs. How many
# samples the "grad" variants have depends on random numbers: those without equal indices.
RECORDED = {
    "nn.functional.adaptive_avg_pool1d": (6, 2),
    "nn.functional.adaptive_avg_pool2d": (10, 3),
    "nn.functional.adaptive_avg_pool3d": (12, 3),
    "nn.functional.adaptive_max_pool1d": (8, 2),
    "nn.functional.adaptive_max_pool2d": (24, 3),
    "nn.functional.adaptive_max_pool3d": (20, 3),
    "nn.functional.avg_pool1d": (9, 2),
    "nn.functional.avg_pool2d": (7, 5),
    "nn.functional.avg_pool3d": (8, 6),
    "nn.functional.max_pool1d": (864, 24),
    "nn.functional.max_pool2d": (1440, 7),
    "nn.functional.max_pool3d": (576, 7),
    BACKWARD: (1440, 0),
    "nn.functional.max_unpool1d": (144, 1),
    "nn.functional.max_unpool1d grad": (1, 0),
    "nn.functional.max_unpool2d": (288, 1),
    "nn.functional.max_unpool2d grad": (1, 0),
    "nn.functional.max_unpool3d": (96, 1),
    "nn.functional.max_unpool3d grad": (1, 0),
}
# Sums differ in their order, and gradients of overlapping windows are sums too; both sides then
# round once to a half type.
ROUNDING = {torch.float64: 1e-13, torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


@dataclass
class Checked:
    """How many samples of one operator were compared, per dtype where that differs."""

    name: str
    samples: int = 0  # of one dtype
    dtypes: list[str] = field(default_factory=list)
    forward: int = 0
    backward: int = 0
    second: int = 0
    errors: int = 0


Call = Callable[..., Any]


@cache
def entries() -> dict[str, Any]:
    """Import the database, which takes seconds, and find its poolings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the warnings of torch's own test code
        from torch.testing._internal.common_methods_invocations import op_db
    found = (entry for entry in op_db if "pool" in entry.name and "fractional" not in entry.name)
    return {f"{entry.name} {entry.variant_test_name}".strip(): entry for entry in found}


def per_axis(value: Any, n: int) -> tuple[Any, ...]:
    entries = tuple(value) if isinstance(value, tuple | list) else (value,)
    return entries * n if len(entries) == 1 else entries


def calls_of(entry: Any, sample: Any) -> tuple[Call, Call, torch.Tensor]:
    """Both sides as functions of the one tensor to differentiate by, and that tensor."""
    if entry.name == BACKWARD:
        return backward_calls(sample)
    ours = getattr(pt, entry.name.removeprefix("nn.functional."))
    sides = [partial(run, f, sample.args, sample.kwargs) for f in (ours, entry.op)]
    return sides[0], sides[1], sample.input


def run(function: Call, args: tuple[Any, ...], kwargs: dict[str, Any], x: torch.Tensor) -> Any:
    return function(x, *args, **kwargs)


def backward_calls(sample: Any) -> tuple[Call, Call, torch.Tensor]:
    """torch's backward operator, linear in the gradient that it takes, against ours."""
    x, geometry = sample.input.detach(), dict(sample.kwargs, return_indices=True)
    y, where = torch.nn.functional.max_pool2d(x, **geometry)
    names = ("kernel_size", "stride", "padding", "dilation")
    kernel, stride, padding, dilation = (geometry.get(name) for name in names)
    stride = kernel if stride is None else stride
    ceil_mode = geometry["ceil_mode"]
    given = (per_axis(v, 2) for v in (kernel, stride, padding, dilation))
    windows = windows_text(pw.Windows.sliding(*given, ceil_mode=ceil_mode))

    def ours(dy: torch.Tensor) -> torch.Tensor:
        return torch.ops.poolwise.winners_backward(dy, where, x.shape, windows)

    def theirs(dy: torch.Tensor) -> torch.Tensor:
        aten = torch.ops.aten.max_pool2d_with_indices_backward.default
        lists = (list(per_axis(v, 2)) for v in (kernel, stride, padding, dilation))
        return aten(dy, x.to(dy.dtype), *lists, ceil_mode, where)

    dy = torch.randn(y.shape, dtype=torch.float32).to(y.dtype)
    return ours, theirs, dy.requires_grad_(sample.input.requires_grad)


def bits(x: torch.Tensor) -> torch.Tensor:
    """Floats as integers, so that -0.0 differs from 0.0, with every NaN made the same."""
    if not x.dtype.is_floating_point:
        return x
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[x.dtype.itemsize]
    return torch.where(x.isnan(), torch.full_like(x, torch.nan), x).contiguous().view(integer)


def values(result: Any) -> tuple[torch.Tensor, ...]:
    return tuple(r.detach() for r in result) if isinstance(result, tuple) else (result.detach(),)


def compare_forward(entry: Any, ours: Any, theirs: Any) -> None:
    assert isinstance(ours, tuple) == isinstance(theirs, tuple)
    for y, expected in zip(values(ours), values(theirs), strict=True):
        if "avg" in entry.name and not expected.dtype.is_floating_point:
            # torch's mean of integers is an integer, cut; ours is the mean, as in NumPy.
            assert y.dtype == torch.float64
            y = y.trunc().to(expected.dtype)
        assert y.dtype == expected.dtype
        if entry.name == BACKWARD or "avg" in entry.name:
            close(y, expected)
        else:
            assert torch.equal(bits(y), bits(expected))


def close(x: torch.Tensor, expected: torch.Tensor) -> None:
    rounding = ROUNDING.get(expected.dtype, 0)
    torch.testing.assert_close(x, expected, rtol=rounding, atol=rounding, equal_nan=True)


def differentiable(result: Any) -> torch.Tensor:
    return result[0] if isinstance(result, tuple) else result


def gradients(call: Call, x: torch.Tensor, dy: torch.Tensor, **options: Any) -> torch.Tensor:
    return torch.autograd.grad(differentiable(call(x)), x, dy, **options)[0]


def in_float32(call: Call, x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
    """What torch's sums of half numbers would be, had it not added them in the half type."""
    if x.dtype not in (torch.float16, torch.bfloat16):
        return call(x, *rest)
    return call(*(t.detach().float().requires_grad_() for t in (x, *rest))).to(x.dtype)


def second_derivatives(
    call: Call, x: torch.Tensor, dy: torch.Tensor, direction: torch.Tensor
) -> list[torch.Tensor]:
    """Gradients of the gradient's projection, by the cotangent and by the input."""
    dy = dy.clone().requires_grad_()
    projection = (gradients(call, x, dy, create_graph=True) * direction).sum()
    found = torch.autograd.grad(projection, (dy, x), allow_unused=True)
    return [torch.zeros_like(t) if g is None else g for t, g in zip((dy, x), found, strict=True)]


def check_sample(entry: Any, sample: Any, dtype: torch.dtype, checked: Checked) -> None:
    ours, theirs, x = calls_of(entry, sample)
    result = in_float32(theirs, x) if entry.name == BACKWARD else theirs(x)
    with torch.no_grad():  # what keeps nothing for a gradient takes another way through the core
        compare_forward(entry, ours(x), result)
    checked.forward += 1
    if not x.requires_grad:
        return
    compare_forward(entry, ours(x), result)
    y = differentiable(result).detach()
    dy = torch.randn(y.shape, dtype=torch.float32).to(dtype)
    close(gradients(ours, x, dy), in_float32(partial(gradients, theirs), x, dy))
    checked.backward += 1
    if dtype == torch.float64:
        direction = torch.randn(x.shape, dtype=dtype)
        pairs = (second_derivatives(call, x, dy, direction) for call in (ours, theirs))
        for found, wanted in zip(*pairs, strict=True):
            close(found, wanted)
        checked.second += 1


def check_errors(entry: Any, checked: Checked) -> None:
    if entry.error_inputs_func is None:
        return
    for error in entry.error_inputs("cpu"):
        sample = error.sample_input
        ours, theirs, x = calls_of(entry, sample)
        with pytest.raises(error.error_type):
            theirs(x)
        with pytest.raises((ValueError, TypeError, RuntimeError)) as raised:
            ours(x)
        assert len(str(raised.value)) > 10
        checked.errors += 1


def check(name: str) -> Checked:
    """Compare every sample of one entry; return the counts."""
    entry, checked = entries()[name], Checked(name)
    torch.manual_seed(7)
    with_gradient = entry.supported_backward_dtypes("cpu")
    expected = dict.fromkeys(("forward", "backward", "second"), 0)
    for dtype in sorted(entry.supported_dtypes("cpu"), key=str):
        checked.dtypes.append(str(dtype).removeprefix("torch."))
        grad = dtype in with_gradient
        samples = list(entry.sample_inputs("cpu", dtype, requires_grad=grad))
        for sample in samples:
            check_sample(entry, sample, dtype, checked)
        expected["forward"] += len(samples)
        expected["backward"] += grad * len(samples)
        expected["second"] += (grad and dtype == torch.float64) * len(samples)
        checked.samples = len(samples)
    check_errors(entry, checked)
    assert {key: getattr(checked, key) for key in expected} == expected
    return checked


def table(rows: list[Checked]) -> Iterator[str]:
    heads = ("operator", "samples", "forward", "backward", "second", "errors", "dtypes")
    yield "{:34}{:>9}{:>9}{:>10}{:>8}{:>8}  {}".format(*heads)
    for row in rows:
        counts = (row.samples, row.forward, row.backward, row.second, row.errors)
        short = (
            d.replace("bfloat", "bf").replace("float", "f").replace("int", "i") for d in row.dtypes
        )
        yield "{:34}{:>9}{:>9}{:>10}{:>8}{:>8}  {}".format(row.name, *counts, " ".join(short))
    totals = (
        sum(getattr(r, key) for r in rows) for key in ("forward", "backward", "second", "errors")
    )
    yield "{:43}{:>9}{:>10}{:>8}{:>8}".format("total", *totals)


@pytest.fixture(scope="module")
def rows() -> Iterator[list[Checked]]:
    """Gather the counts; print them when all is done."""
    found: list[Checked] = []
    yield found
    print("", *table(found), sep="\n")


def test_no_entry_is_left_out() -> None:
    assert set(entries()) == set(RECORDED)


@pytest.mark.parametrize("name", RECORDED)
def test_every_sample_is_pytorchs(name: str, rows: list[Checked]) -> None:
    checked = check(name)
    samples, errors = RECORDED[name]
    assert checked.samples >= samples
    assert checked.forward >= samples * len(checked.dtypes)
    assert checked.second >= samples
    assert checked.backward >= samples * 2
    assert checked.errors >= errors
    rows.append(checked)


def main() -> None:
    """Check everything and print the table."""
    start = time.perf_counter()
    checked = [check(name) for name in RECORDED]
    print(*table(checked), sep="\n")
    print(f"torch {torch.__version__}, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
