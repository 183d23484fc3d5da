"""Arrays in and out: whatever holds numbers becomes a NumPy array, without a copy where possible.

The native core takes aligned arrays in native byte order, of the dtypes it knows, with any strides.
This module is the only place that knows the many things users pass instead.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._checks import show
from ._dtypes import bfloat16, check_dtype, core_name

Array = NDArray[Any]

_MOST_AXES = 32
_WORK = 1000


def as_array(x: object, name: str = "x") -> Array:
    """Return `x` as an array the core can read: copied only if misaligned or byte-swapped."""
    if type(x) is np.ndarray:
        array = x
    elif isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, and pooling knows no masks; fill it first")
    elif isinstance(x, np.ndarray):
        array = np.asarray(x)
    else:
        array = _convert(x, name)
    if core_name(array.dtype) is None:
        array = array.astype(check_dtype(array.dtype, name))
    if not array.flags.aligned:
        array = array.copy()
    if not 0 < array.ndim <= _MOST_AXES:
        raise ValueError(f"{name} has {array.ndim} axes; reshape it to 1 to {_MOST_AXES} axes")
    return array


def _convert(x: object, name: str) -> Array:
    if str(getattr(x, "dtype", "")) == "torch.bfloat16":
        # NumPy has no bfloat16 of its own, so neither __array__ nor DLPack can carry one.
        bits = np.asarray(x.view(_torch_int16(x)))  # type: ignore[attr-defined]
        return bits.view(bfloat16())
    try:
        if hasattr(x, "__dlpack__") and not hasattr(x, "__array__"):
            return np.from_dlpack(x)
        array = np.asarray(x)
    except MemoryError:
        raise
    except ValueError as error:
        raise ValueError(f"{name} cannot be read as one array: {error}") from error
    except Exception as error:  # a tensor on a GPU or with a gradient raises its framework's own
        raise TypeError(
            f"{name} cannot be read as an array: {error}; give an array in CPU memory, "
            "detached from gradients"
        ) from error
    if array.ndim == 0 and array.dtype == object:
        raise TypeError(f"{name} must be an array, got {show(x)} of type {type(x).__name__}")
    return array


def _torch_int16(tensor: object) -> object:
    """Return torch.int16 by way of the tensor's own package, which is imported already."""
    import sys

    return sys.modules["torch"].int16


def check_out(
    out: object, shape: tuple[int, ...], dtype: np.dtype, *inputs: Array, name: str = "out"
) -> Array:
    """Return `out` if the result can be written straight into it."""
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a NumPy array, got {type(out).__name__}")
    if out.dtype != dtype:
        raise TypeError(f"{name} has dtype {out.dtype}, but the result is {dtype}; make it {dtype}")
    if out.shape != shape:
        raise ValueError(
            f"{name} has shape {out.shape}, but the result is {shape}; make it {shape}"
        )
    flags = out.flags
    if not flags.writeable:
        raise ValueError(f"{name} is read-only; give an array that can be written to")
    if not flags.aligned:
        raise ValueError(f"{name} is misaligned in memory; give an array made by np.empty")
    if not flags.c_contiguous and _overlaps_itself(out):
        raise ValueError(f"{name} uses some memory twice; give an array made by np.empty")
    # Bounds first, then a bounded search, so that interleaved views of one buffer are told apart.
    if any(np.may_share_memory(out, x, max_work=_WORK) for x in inputs):  # type: ignore[arg-type]
        other = "x" if name == "out" else "x or the values"
        raise ValueError(f"{name} shares memory with {other}; give an array of its own")
    return out


def _overlaps_itself(out: Array) -> bool:
    """Whether two elements may share memory: sorted by stride, each must step over the last."""
    reach = out.itemsize
    strides = zip(map(abs, out.strides), out.shape, strict=True)
    for stride, size in sorted((step, n) for step, n in strides if n > 1):
        if stride < reach:
            return out.size > 0
        reach = stride * size
    return False


def raw(array: Array, name: str) -> Array:
    """Return the array as the core takes it: NumPy has no bfloat16, so its bits are passed."""
    return array.view(np.uint16) if name == "bfloat16" else array
