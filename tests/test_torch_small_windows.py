"""Small windows in every layout against PyTorch: every width from 1 to 40, strides, NaN, gradients.

These are the kernels with the most paths of their own (`direct.h`, `spread.h`): stride phases, rows
written where they belong or through a buffer, lanes cell by cell, windows apart joined in place.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

import poolwise.torch as pt

# kernel, stride, padding
WINDOWS = [(2, 2, 0), (3, 2, 1), (3, 2, 0), (3, 1, 1), (2, 1, 0), (3, 3, 0), (2, 3, 0), (4, 2, 1)]
WINDOWS += [(5, 2, 2), (5, 3, 2), (4, 4, 2), (6, 5, 1), (1, 2, 0)]
CHANNELS = [1, 3, 8, 17, 40]


def maps(width: int, channels: int, last: bool, dtype: torch.dtype) -> torch.Tensor:
    made = torch.Generator().manual_seed(100 * width + channels)
    # Few different values: ties everywhere.
    x = torch.randint(-4, 5, (2, channels, 7 + width % 5, width), generator=made).to(dtype)
    return x.contiguous(memory_format=torch.channels_last) if last else x


def fitting(kernel: int, padding: int, width: int) -> bool:
    return width + 2 * padding >= kernel


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f4", "f8"])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_maxima_and_their_gradients(
    window: tuple[int, int, int], dtype: torch.dtype, last: bool
) -> None:
    for width in filter(lambda w: fitting(window[0], window[2], w), range(1, 41)):
        x = maps(width, CHANNELS[width % len(CHANNELS)], last, dtype).requires_grad_()
        y, expected = pt.max_pool2d(x, *window), F.max_pool2d(x, *window)
        assert torch.equal(y, expected), width
        dy = torch.randint(-9, 9, y.shape).to(dtype)
        dy = dy.contiguous(memory_format=torch.channels_last) if last else dy
        (found,), (wanted,) = (torch.autograd.grad(one, x, dy) for one in (y, expected))
        assert torch.equal(found, wanted), width


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_nan_comes_through_and_wins(window: tuple[int, int, int], last: bool) -> None:
    for width in filter(lambda w: fitting(window[0], window[2], w), range(1, 41)):
        x = maps(width, CHANNELS[width % len(CHANNELS)], last, torch.float32)
        places = torch.rand(x.shape, generator=torch.Generator().manual_seed(width))
        x = torch.where(places < 0.03, math.nan, x)  # in some planes, some rows, some lanes
        x = torch.where(places > 0.97, -math.inf, x)
        x = x.contiguous(memory_format=torch.channels_last) if last else x
        (y, i), (expected, j) = (
            f(x, *window, return_indices=True) for f in (pt.max_pool2d, F.max_pool2d)
        )
        assert torch.equal(i, j), width
        for values in (y, pt.max_pool2d(x, *window)):
            torch.testing.assert_close(values, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_means_and_their_gradients(window: tuple[int, int, int], last: bool) -> None:
    for width in filter(lambda w: fitting(window[0], window[2], w), range(1, 41)):
        x = maps(width, CHANNELS[width % len(CHANNELS)], last, torch.float32).requires_grad_()
        for inside in (False, True):
            y, expected = (
                f(x, *window, count_include_pad=inside) for f in (pt.avg_pool2d, F.avg_pool2d)
            )
            torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6)
            dy = torch.randint(-9, 9, y.shape).float()
            dy = dy.contiguous(memory_format=torch.channels_last) if last else dy
            (found,), (wanted,) = (torch.autograd.grad(one, x, dy) for one in (y, expected))
            torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("last", [False, True], ids=["contiguous", "channels last"])
@pytest.mark.parametrize("window", [(2, 2, 0), (3, 3, 1), (3, 1, 1), (3, 2, 1), (2, 1, 0)], ids=str)
def test_volumes(window: tuple[int, int, int], last: bool) -> None:
    for width in range(3, 24):
        x = torch.randint(-4, 5, (2, CHANNELS[width % 4], 5, 6, width)).float()
        x[0, 0, 2, 1, width // 2] = math.nan
        x = x.contiguous(memory_format=torch.channels_last_3d) if last else x
        x.requires_grad_()
        y, expected = pt.max_pool3d(x, *window), F.max_pool3d(x, *window)
        torch.testing.assert_close(y, expected, rtol=0, atol=0, equal_nan=True)
        dy = torch.randint(-9, 9, y.shape).float()
        dy = dy.contiguous(memory_format=torch.channels_last_3d) if last else dy
        (found,), (wanted,) = (torch.autograd.grad(one, x, dy) for one in (y, expected))
        assert torch.equal(found, wanted), width
