"""A program: what torch users do with processes and threads, each in a fresh process.

``python _torch_workers.py fork|spawn|threads`` prints what test_torch_workers.py expects. The data
set is defined here because a spawned worker imports it by this file's path.
"""

from __future__ import annotations

import sys
from typing import Any

import psutil
import torch
from torch.utils.data import DataLoader, Dataset

import poolwise.torch as pt

SIZE = 160  # large enough that the core shares the work out


def images() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(1, 8, SIZE, SIZE, generator=generator) for _ in range(12)]


def pooled(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Nothing but pooling: torch's own OpenMP threads do not survive a fork."""
    y, i = pt.max_pool2d(x, 3, 2, 1, return_indices=True)
    back = pt.max_unpool2d(y, i, 3, 2, 1, output_size=x.shape[-2:])
    return y, i, back, pt.avg_pool2d(x, 9, 1, 4), pt.spatial_pyramid_pool2d([x[0], x[0, :, 1:]])


class Pooled(Dataset[Any]):
    """Images that are pooled where they are loaded."""

    def __init__(self) -> None:
        self.images = images()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        return pooled(self.images[index])


def two_threads(worker: int) -> None:
    """A DataLoader gives its workers one thread; they may ask for more."""
    torch.set_num_threads(2)


def loaded(method: str) -> None:
    torch.set_num_threads(3)
    data = Pooled()
    results = [[pooled(x) for x in data.images]]  # the parent's threads run by now
    for init in (None, two_threads) if method == "fork" else (two_threads,):
        loader: Any = DataLoader(
            data,
            batch_size=None,
            num_workers=2,
            multiprocessing_context=method,
            worker_init_fn=init,
        )
        results.append(list(loader))
    results.append([pooled(x) for x in data.images])
    for found in results[1:]:
        pairs = zip(found, results[0], strict=True)
        print(len(found), all(all(map(torch.equal, *pair)) for pair in pairs))


def threads() -> None:
    """How many threads pooling starts after each torch.set_num_threads, and whether bits stay."""
    x = torch.randn(4, 16, SIZE, SIZE)
    results = []
    for count in (1, 4, 2):
        torch.set_num_threads(count)
        before = psutil.Process().num_threads()
        results.append(pt.max_pool2d(x, 9, 1, 4).add(pt.avg_pool2d(x, 9, 1, 4)))
        print(count, psutil.Process().num_threads() - before)
    print(all(torch.equal(result, results[0]) for result in results))


if __name__ == "__main__":
    threads() if sys.argv[1] == "threads" else loaded(sys.argv[1])
