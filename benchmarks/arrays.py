"""A case's arrays, made once for all peers: the input in either layout, and gradients.

They are fixed by a seed. Cases of one shape that follow each other share their arrays, and the
arrays of the last shape are gone before those of the next are made.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from benchmarks.cases import Case, Dtype

SEED = 2014


def numpy_dtype(dtype: Dtype) -> np.dtype:
    """NumPy's name for it; bfloat16 comes from `ml_dtypes`, imported only for it."""
    if dtype == "bf16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    names = {"f32": "float32", "f16": "float16", "f64": "float64", "u8": "uint8", "i16": "int16"}
    return np.dtype(names[dtype])


def random(shape: tuple[int, ...], dtype: Dtype) -> np.ndarray:
    """Normal numbers, or any value of an integer type."""
    rng, wanted = np.random.default_rng(SEED), numpy_dtype(dtype)
    if wanted.kind in "iu":
        limits = np.iinfo(wanted)
        return rng.integers(limits.min, limits.max, shape, wanted, endpoint=True)
    if dtype == "f64":
        return rng.standard_normal(shape)
    return rng.standard_normal(shape, np.float32).astype(wanted, copy=False)


def channels_last(x: np.ndarray) -> np.ndarray:
    """A contiguous (N, ..., C) copy of (N, C, ...)."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1))


def channels_first(y: np.ndarray) -> np.ndarray:
    """A view (N, C, ...) of (N, ..., C)."""
    return np.moveaxis(y, -1, 1)


class Arrays:
    """The input `nchw`, C-contiguous (N, C, ...), and what is derived from it."""

    def __init__(self, case: Case) -> None:
        self._key = _key(case)
        self._shape, self._dtype, self._maps = case.shape, case.dtype, case.maps
        self._grads: dict[tuple[int, ...], np.ndarray] = {}

    def serves(self, case: Case) -> bool:
        """Whether these arrays are also that case's."""
        return self._key == _key(case)

    @cached_property
    def nchw(self) -> np.ndarray:
        return random(self._shape, self._dtype)

    @cached_property
    def nhwc(self) -> np.ndarray:
        return channels_last(self.nchw)

    @cached_property
    def maps(self) -> list[np.ndarray]:
        """The (C, rows, columns) maps of a ragged case."""
        return [random((self._shape[1], *sizes), self._dtype) for sizes in self._maps]

    def of(self, case: Case) -> np.ndarray:
        """The input in the case's own layout."""
        return self.nchw if case.layout == "nchw" else self.nhwc

    def gradient(self, case: Case) -> np.ndarray:
        """The gradient of the output, (N, C, ...)."""
        shape = case.output_shape
        if shape not in self._grads:
            self._grads = {shape: random(shape, self._dtype)}
        return self._grads[shape]


def _key(case: Case) -> tuple[object, ...]:
    return case.shape, case.dtype, case.maps
