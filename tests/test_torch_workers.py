"""Pooling tensors in many places at once: DataLoader workers, Python threads, torch's threads.

Whatever could hang runs in a process of its own with a time limit; see _torch_workers.py.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import poolwise.torch as pt

PROGRAM = Path(__file__).with_name("_torch_workers.py")


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def printed(*arguments: str) -> list[str]:
    # Python 3.12 warns of any fork beside threads, and that is what is tested.
    flags = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]
    done = subprocess.run(
        [sys.executable, *flags, str(PROGRAM), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_data_loader_workers(method: str) -> None:
    lines = printed(method)
    assert len(lines) == (3 if method == "fork" else 2)
    assert set(lines) == {"12 True"}


def test_torchs_number_of_threads_is_followed() -> None:
    *lines, same = printed("threads")
    started = {int(count): int(more) for count, more in map(str.split, lines)}
    assert started.keys() == {1, 4, 2}
    assert started[1] == 0
    assert started[4] >= 3
    assert started[2] <= 0  # those that are there are enough
    assert same == "True"


def test_many_python_threads() -> None:
    torch.set_num_threads(2)
    x = torch.randn(3, 8, 70, 71, requires_grad=True)
    calls = [
        lambda x: pt.max_pool2d(x, 3, 2, 1),
        lambda x: pt.avg_pool2d(x, 5, 1, 2),
        lambda x: pt.lp_pool2d(x, 2, 3, 2),
        lambda x: pt.adaptive_max_pool2d(x, (9, 80)),
        lambda x: pt.spatial_pyramid_pool2d(list(x), (1, 2, 4), "mean"),
    ]

    def both(index: int) -> tuple[torch.Tensor, torch.Tensor]:
        y = calls[index](x)
        return y.detach(), torch.autograd.grad(y, x, torch.ones_like(y))[0]

    expected = [both(index) for index in range(len(calls))]
    start = threading.Barrier(8)

    def worker(turn: int) -> int:
        start.wait()
        wrong = 0
        for step in range(15):
            index = (turn + step) % len(calls)
            wrong += not all(map(torch.equal, both(index), expected[index]))
        return wrong

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(worker, range(8))) == [0] * 8


def test_the_setting_may_change_meanwhile() -> None:
    x = torch.randn(2, 8, 120, 121)
    expected = pt.avg_pool2d(x, 9, 2, 4)
    for count in (1, 3, 2, 5, 1, 4):
        torch.set_num_threads(count)
        assert torch.equal(pt.avg_pool2d(x, 9, 2, 4), expected)
