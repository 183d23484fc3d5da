"""The custom operators below the torch face: torch's own checks of them, and what they refuse.

`torch.library.opcheck` tests schema, autograd registration, fake kernels and AOT dispatch with
static and dynamic shapes. Winners and indices come from users' hands, too: a bad one is an error,
never a write. The composition that other devices run must agree with the native kernels.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

import poolwise.torch as pt
from poolwise import Windows, reducers
from poolwise.torch import composed
from poolwise.torch.spelling import reducer_text, windows_text

OPS = torch.ops.poolwise
SIZES = (6, 7)
WINDOWS = {
    "plain": Windows.sliding((2, 2)),
    "overlapping": Windows.sliding((3, 3), 2, 1),
    "dilated, uneven": Windows.sliding((2, 3), (1, 2), [(0, 1), (1, 1)], (2, 1), ceil_mode=True),
    "same": Windows.sliding((3, 2), 2, "same"),
    "adaptive": Windows.adaptive((3, 9)),
    "kept": Windows.adaptive((None, 2)),
    "pyramid": Windows.pyramid([(1, 1), (2, 3)]),
}
PICKS = {"max": reducers.max, "min": reducers.min}
ADDS = {
    "sum": reducers.sum,
    "mean": reducers.mean,
    "mean of inside": reducers.mean_with(False),
    "mean by 5": reducers.mean_with(divisor_override=5),
}
POWERS = {"lp 2": reducers.lp(2), "lp 1.5": reducers.lp(1.5)}
GRID = [(w, r) for w in WINDOWS for r in (*PICKS, *ADDS, *POWERS)]
# opcheck takes a third of a second: every kind of windows once, and every reducer with two kinds.
CHECKED = [
    (w, r) for w, r in GRID if r == "max" or (w in ("overlapping", "pyramid") and r != "min")
]
CHECKED.append(("plain", "min"))
CHECKS = ["schema", "autograd_registration", "faketensor", "aot_dispatch_static"]
CHECKS = [f"test_{check}" for check in (*CHECKS, "aot_dispatch_dynamic")]
QUICK = [check for check in CHECKS if "static" not in check]
REFUSALS = (ValueError, TypeError, RuntimeError, IndexError)


def made(dtype: torch.dtype = torch.float32, grad: bool = False, last: bool = False) -> Any:
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(2, 3, *SIZES, generator=generator, dtype=torch.float64).to(dtype)
    return (x.contiguous(memory_format=torch.channels_last) if last else x).requires_grad_(grad)


def names(windows: str, reducer: str) -> tuple[str, str]:
    made = {**PICKS, **ADDS, **POWERS}[reducer]
    return windows_text(WINDOWS[windows]), reducer_text(made)


def calls(windows: str, reducer: str, x: torch.Tensor) -> dict[str, tuple[Any, ...]]:
    """Every operator that takes these windows and this reducer, with arguments for it."""
    spelled, by = names(windows, reducer)
    y = OPS.pool(x.detach(), spelled, by)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(8)).to(y.dtype)
    dy = dy.requires_grad_(x.requires_grad)
    found: dict[str, tuple[Any, ...]] = {"pool": (x, spelled, by)}
    if reducer in PICKS:
        for indices in (False, True):
            _, winners = OPS.pool_winners(x.detach(), spelled, by, indices)
            found[f"pool_winners {indices}"] = (x, spelled, by, indices)
            found[f"winners_backward {indices}"] = (dy, winners, x.shape, spelled)
            found[f"winners_gather {indices}"] = (x, winners, spelled)
        if windows == "plain":
            found["unpool"] = (dy, winners, SIZES)
    elif reducer in ADDS:
        found["pool_backward"] = (dy, x.shape, spelled, by)
    else:
        found["lp_backward"] = (dy, x, spelled, by)
    return found


def overload(title: str) -> Any:
    return getattr(OPS, title.split()[0]).default


@pytest.mark.parametrize(("windows", "reducer"), CHECKED)
def test_opcheck(windows: str, reducer: str) -> None:
    for grad in (False, True) if windows == "overlapping" else (True,):
        for title, arguments in calls(windows, reducer, made(grad=grad)).items():
            torch.library.opcheck(overload(title), arguments, test_utils=CHECKS)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int16], ids=str
)
@pytest.mark.parametrize("reducer", ["max", "mean", "sum"])
def test_opcheck_of_other_dtypes_and_layouts(reducer: str, dtype: torch.dtype) -> None:
    for last in (False, True):
        x = made(dtype, last=last)
        for title, arguments in calls("overlapping", reducer, x).items():
            if dtype.is_floating_point or "backward" not in title:
                torch.library.opcheck(overload(title), arguments, test_utils=CHECKS[:3])


@pytest.mark.parametrize("lead", [(), (4,), (2, 1, 3), (0, 2)])
def test_opcheck_of_any_leading_axes(lead: tuple[int, ...]) -> None:
    x = torch.randn(*lead, *SIZES)
    for windows, reducer in (("overlapping", "max"), ("pyramid", "mean")):
        for title, arguments in calls(windows, reducer, x).items():
            torch.library.opcheck(overload(title), arguments, test_utils=CHECKS)


def test_opcheck_of_windows_beyond_a_byte() -> None:
    spelled, by = windows_text(Windows.sliding((17, 17), 1)), reducer_text(reducers.max)
    x = torch.randn(2, 18, 19, requires_grad=True)
    y, winners = OPS.pool_winners(x.detach(), spelled, by, False)
    assert winners.dtype in (torch.int32, torch.int64)
    flat = OPS.pool_winners(x.detach(), spelled, by, True)[1]
    assert torch.equal(winners.long(), flat)
    torch.library.opcheck(OPS.pool_winners.default, (x, spelled, by, False), test_utils=CHECKS)
    backward = (torch.randn_like(y), winners, x.shape, spelled)
    torch.library.opcheck(OPS.winners_backward.default, backward, test_utils=CHECKS)


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str
)
@pytest.mark.parametrize(("windows", "reducer"), GRID)
def test_the_composition_agrees(windows: str, reducer: str, dtype: torch.dtype) -> None:
    rounding = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2, torch.float32: 1e-5}.get(dtype, 1e-12)
    for last in (False, True):
        for title, arguments in calls(windows, reducer, made(dtype, last=last)).items():
            native = overload(title)(*arguments)
            other = getattr(composed, title.split()[0])(*arguments)
            pairs = zip(
                *(r if isinstance(r, tuple) else (r,) for r in (native, other)), strict=True
            )
            for y, expected in pairs:
                assert (y.dtype, y.shape) == (expected.dtype, expected.shape)
                picks = "pool" in title and reducer in PICKS
                by = 0 if picks or "gather" in title or title == "unpool" else rounding
                torch.testing.assert_close(y, expected, rtol=by, atol=by, equal_nan=True)


@pytest.mark.parametrize("reducer", PICKS)
def test_the_composition_agrees_on_nan_infinity_and_ties(reducer: str) -> None:
    values = torch.tensor([torch.nan, torch.inf, -torch.inf, 0.0, -0.0, 1.0])
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        high = 6 if seed % 2 else 3
        x = values[torch.randint(6 - high, 6, (2, 3, *SIZES), generator=generator)]
        for windows in WINDOWS:
            spelled, by = names(windows, reducer)
            for indices in (False, True):
                y, i = OPS.pool_winners(x, spelled, by, indices)
                expected, where = composed.pool_winners(x, spelled, by, indices)
                assert torch.equal(i, where)
                assert torch.equal(y.nan_to_num(9.0), expected.nan_to_num(9.0))
                zeros = expected == 0
                assert torch.equal(y.signbit()[zeros], expected.signbit()[zeros])


def test_winners_are_places_within_the_window() -> None:
    x = torch.tensor([[1.0, 2.0, 9.0, 4.0], [8.0, 5.0, 6.0, 7.0]])
    spelled, by = windows_text(Windows.sliding((2, 2))), reducer_text(reducers.max)
    y, places = OPS.pool_winners(x, spelled, by, False)
    assert y.tolist() == [[8.0, 9.0]]
    assert (places.dtype, places.tolist()) == (torch.uint8, [[2, 0]])
    assert OPS.pool_winners(x, spelled, by, True)[1].tolist() == [[4, 2]]
    for winners in (places, torch.tensor([[4, 2]]), torch.tensor([[4, 2]], dtype=torch.int32)):
        dx = OPS.winners_backward(torch.tensor([[3.0, 5.0]]), winners, (2, 4), spelled)
        assert dx.tolist() == [[0, 0, 5, 0], [3, 0, 0, 0]]
        assert OPS.winners_gather(x, winners, spelled).tolist() == [[8.0, 9.0]]


BAD_INDICES = [-1, -2, -(2**40), 42, 43, 2**31 - 1, 2**31, 2**32 + 1, 2**40, 2**63 - 1]


@pytest.mark.parametrize("windows", ["plain", "adaptive", "pyramid"])
@pytest.mark.parametrize("bad", BAD_INDICES)
def test_bad_indices_are_refused(bad: int, windows: str) -> None:
    spelled, by = names(windows, "max")
    x = made()
    y, i = OPS.pool_winners(x, spelled, by, True)
    for place in (0, i.numel() // 2, -1):
        poked = i.clone()
        poked.view(-1)[place] = bad
        versions = [poked]
        if abs(bad) < 2**31:
            versions.append(poked.to(torch.int32))
        for winners in versions:
            with pytest.raises(REFUSALS):
                OPS.winners_backward(y, winners, x.shape, spelled)
            with pytest.raises(REFUSALS):
                OPS.winners_gather(x, winners, spelled)
        if windows == "plain":
            with pytest.raises(REFUSALS):
                OPS.unpool(y, poked, SIZES)


@pytest.mark.parametrize(("windows", "bad"), [("plain", 4), ("plain", 255), ("overlapping", 9)])
def test_bad_places_are_refused(windows: str, bad: int) -> None:
    spelled, by = names(windows, "max")
    x = made()
    y, places = OPS.pool_winners(x, spelled, by, False)
    for place in (0, -1):
        poked = places.clone()
        poked.view(-1)[place] = bad
        with pytest.raises(REFUSALS):
            OPS.winners_backward(y, poked, x.shape, spelled)
        with pytest.raises(REFUSALS):
            OPS.winners_gather(x, poked, spelled)


def test_a_place_in_the_padding_has_no_part() -> None:
    spelled, by = names("overlapping", "max")
    x = made()
    y, places = OPS.pool_winners(x, spelled, by, False)
    places.view(-1)[0] = 0  # the first place of the first window is padding
    without = y.clone()
    without.view(-1)[0] = 0
    dx = OPS.winners_backward(y, places, x.shape, spelled)
    assert torch.equal(dx, OPS.winners_backward(without, places, x.shape, spelled))
    torch.testing.assert_close(dx.sum(), without.sum())
    assert torch.equal(OPS.winners_gather(x, places, spelled), without)


def test_what_does_not_fit_together_is_refused() -> None:
    x = made()
    spelled, by = names("plain", "max")
    _, mean = names("plain", "mean")
    y, places = OPS.pool_winners(x, spelled, by, False)
    _, lp = names("plain", "lp 2")
    for call in (
        lambda: OPS.winners_backward(y[..., :-1], places, x.shape, spelled),
        lambda: OPS.winners_backward(y, places[:1], x.shape, spelled),
        lambda: OPS.winners_backward(y, places.float(), x.shape, spelled),
        lambda: OPS.winners_backward(y, places, (2, 3, 6), spelled),
        lambda: OPS.winners_backward(y, places, (2, 3, 6, 9), spelled),
        lambda: OPS.winners_backward(y, places, (2, 3, 0, 7), spelled),
        lambda: OPS.winners_backward(y, places, (2, 3, -6, 7), spelled),
        lambda: OPS.winners_backward(y, places, SIZES, spelled),
        lambda: OPS.winners_gather(x[..., :-2], places, spelled),
        lambda: OPS.winners_gather(x[:1], places, spelled),
        lambda: OPS.pool_backward(y[..., :-1], x.shape, spelled, mean),
        lambda: OPS.pool_backward(y, (2, 3, 6, 2**40), spelled, mean),
        lambda: OPS.lp_backward(y[:1], x, spelled, lp),
        lambda: OPS.unpool(y, places, SIZES),
        lambda: OPS.unpool(y, places[:1].long(), SIZES),
        lambda: OPS.unpool(y, places.long(), (0, 7)),
        lambda: OPS.pool(x.to(torch.complex64), spelled, mean),
        lambda: OPS.pool(x[0, 0, 0], spelled, mean),
        lambda: OPS.pool(x, "windows", mean),
        lambda: OPS.pool(x, spelled, "reducer"),
        lambda: OPS.pool(x, "", ""),
    ):
        with pytest.raises(REFUSALS):
            call()


def test_functions_and_operators_are_the_same_thing() -> None:
    x = made()
    spelled, by = names("overlapping", "max")
    assert torch.equal(OPS.pool(x, spelled, by), pt.max_pool2d(x, 3, 2, 1))
    indices = pt.max_pool2d(x, 3, 2, 1, return_indices=True)[1]
    assert torch.equal(OPS.pool_winners(x, spelled, by, True)[1], indices)
