"""Whether two answers are the same: what must hold before a time is worth anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from benchmarks.cases import Case, Dtype
    from benchmarks.peers import Outputs

# Sums differ by their order, in f32 by an error that grows with the window; halves round once.
TOLERANCE: dict[Dtype, float] = {
    "f32": 1e-4,
    "f16": 2e-3,
    "bf16": 1.6e-2,
    "u8": 1e-5,
    "i16": 1e-5,
    "f64": 1e-10,
}


def difference(case: Case, ours: Outputs, theirs: Outputs) -> str:
    """What tells two answers apart, or an empty string.

    A maximum is one of the inputs and an index is a number: the same bits everywhere. Gradients of
    windows that overlap are sums, as means are.
    """
    if ours is theirs:
        return ""
    exact = case.op == "max" and case.direction != "backward"
    for a, b in zip(ours, theirs, strict=True):
        if a.shape != b.shape:
            return f"shape {b.shape} instead of {a.shape}"
        for one, other in zip(a, b, strict=True):  # by sample: half a gigabyte has no copy to spare
            text = _compare(one, other, exact, TOLERANCE[case.dtype])
            if text:
                return text
    return ""


def _compare(ours: np.ndarray, theirs: np.ndarray, exact: bool, tolerance: float) -> str:
    if np.array_equal(ours, theirs):
        return ""
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    off = np.abs(a - b)
    limit = 0.0 if exact else tolerance * (1 + np.abs(a))
    if (off <= limit).all():
        return ""
    return f"off by {off.max():.3g} at {np.unravel_index(int(off.argmax()), off.shape)} of a sample"
