"""poolwise itself, through its public face, with outputs allocated before the clock starts.

A fresh 26 MB output costs more in page faults than most kernels, so `out=` is how it is meant to be
used. That goes for the gradient too; autograd has no such argument, so its fresh array is part of
its time, as it is of its users'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import poolwise as pw
from benchmarks.peers import Run

if TYPE_CHECKING:
    from benchmarks.cases import Case


def windows_of(case: Case) -> pw.Windows:
    if case.kind == "pyramid":
        return pw.Windows.pyramid(case.levels)
    if case.kind == "adaptive":
        return pw.Windows.adaptive(case.output_size)
    return pw.Windows.sliding(case.kernel, case.stride, case.padding)


class Poolwise:
    name = "poolwise"
    checked = True

    def set_threads(self, threads: int) -> None:
        pw.set_num_threads(threads)

    def prepare(self, case: Case, x: np.ndarray, grad: np.ndarray | None) -> Run:
        windows = windows_of(case)
        reducer = "max" if case.op == "max" else "mean"
        if grad is not None:
            y, pullback = pw.pool_vjp(x, windows, reducer, axes=(2, 3))
            if y.shape != grad.shape:
                raise ValueError(f"{case.name}: output {y.shape}, torch's {grad.shape}")
            dx = np.empty_like(x)
            return Run(lambda: pullback(grad, out=dx), lambda dx: dx)
        if case.layout == "nhwc":
            x = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
            out = np.empty_like(pw.pool(x, windows, reducer, axes=(1, 2)))
            return Run(
                lambda: pw.pool(x, windows, reducer, axes=(1, 2), out=out),
                lambda y: y.transpose(0, 3, 1, 2),
            )
        out = np.empty_like(pw.pool(x, windows, reducer, axes=(2, 3)))
        return Run(lambda: pw.pool(x, windows, reducer, axes=(2, 3), out=out), lambda y: y)
