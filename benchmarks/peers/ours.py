"""poolwise itself, through its public face, with outputs allocated before the clock starts.

A fresh 26 MB output costs more in page faults than most kernels, so `out=` is how it is meant to be
used. That goes for indices and gradients too. Frameworks that have no such argument pay for fresh
arrays, as their users do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import poolwise as pw
from benchmarks.arrays import channels_first, channels_last
from benchmarks.peers import OURS, Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.arrays import Arrays
    from benchmarks.cases import Case
    from benchmarks.peers import Outputs


def windows_of(case: Case) -> pw.Windows:
    if case.levels:
        return pw.Windows.pyramid(case.levels)
    if case.kernel:
        return pw.Windows.sliding(
            case.kernel, case.stride, case.padding, case.dilation, case.ceil_mode
        )
    return pw.Windows.adaptive(case.output_size) if case.output_size else pw.Windows.whole()


class Poolwise:
    name = OURS
    checked = True
    threads_note = "`set_num_threads`"

    def set_threads(self, threads: int) -> None:
        pw.set_num_threads(threads)

    def prepare(self, case: Case, arrays: Arrays) -> Run:
        reducer = "max" if case.op == "max" else "mean"
        if case.levels:
            x: Any = arrays.maps if case.maps else arrays.nchw
            out = np.empty_like(pw.spatial_pyramid_pool(x, case.levels, reducer))
            return Run(
                lambda: pw.spatial_pyramid_pool(x, case.levels, reducer, out=out), lambda y: [y]
            )
        if case.direction == "backward":
            return self._backward(case, arrays, reducer)
        if case.direction == "argmax":
            return self._argmax(case, arrays)
        return self._forward(case, arrays, reducer)

    def _forward(self, case: Case, arrays: Arrays, reducer: str) -> Run:
        x, windows, axes = arrays.of(case), windows_of(case), case.axes
        out = np.empty_like(pw.pool(x, windows, reducer, axes=axes))
        if case.chained == 1:
            return Run(lambda: pw.pool(x, windows, reducer, axes=axes, out=out), _viewed(case))
        outs = [out, *(np.empty_like(out) for _ in range(case.chained - 1))]

        def chain() -> np.ndarray:
            y = x
            for out in outs:
                y = pw.pool(y, windows, reducer, axes=axes, out=out)
            return y

        return Run(chain, _viewed(case))

    def _argmax(self, case: Case, arrays: Arrays) -> Run:
        x, axes, call = arrays.of(case), case.axes, _named(case)
        out = tuple(map(np.empty_like, call(x, axes=axes, return_indices=True)))
        view = _viewed(case)
        return Run(
            lambda: call(x, axes=axes, return_indices=True, out=out),
            lambda pair: [*view(pair[0]), *view(pair[1])],
        )

    def _backward(self, case: Case, arrays: Arrays, reducer: str) -> Run:
        x, dy = arrays.of(case), arrays.gradient(case)
        dy = dy if case.layout == "nchw" else channels_last(dy)
        _, pullback = pw.pool_vjp(x, windows_of(case), reducer, axes=case.axes)
        dx = np.empty_like(x)
        return Run(lambda: pullback(dy, out=dx), _viewed(case))


def _named(case: Case) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """The function that gives indices; only the named ones do."""
    if case.kernel:
        given = (case.kernel, case.stride, case.padding, case.dilation)
        return lambda x, **options: pw.max_pool(x, *given, ceil_mode=case.ceil_mode, **options)
    return lambda x, **options: pw.adaptive_max_pool(x, case.output_size, **options)


def _viewed(case: Case) -> Callable[[np.ndarray], Outputs]:
    return lambda y: [y if case.layout == "nchw" else channels_first(y)]
