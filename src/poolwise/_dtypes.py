"""The element types poolwise works in, and the names the native core knows them by.

bfloat16 is not NumPy's own: it is recognised by name once `ml_dtypes` has registered it, so that
`import poolwise` never has to import that package.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from ._checks import show

_NAMES: dict[np.dtype, str] = {
    np.dtype(name): name
    for name in (
        *("float16", "float32", "float64", "bool"),
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    )
}


def core_name(dtype: np.dtype) -> str | None:
    """Return the core's name for a dtype in native byte order, or None if it has none."""
    name = _NAMES.get(dtype)
    if name is None and dtype.name == "bfloat16" and dtype.isnative:
        name = _NAMES[dtype] = "bfloat16"
    return name


def check_dtype(dtype: np.dtype, name: str) -> np.dtype:
    """Return `dtype` in native byte order; TypeError for a type that cannot be pooled."""
    native = dtype if dtype.isnative else dtype.newbyteorder("=")
    if core_name(native) is None:
        raise TypeError(
            f"{name} has dtype {dtype}, which cannot be pooled; convert it to an integer type, "
            "bool, float16, bfloat16, float32 or float64"
        )
    return native


def is_float(dtype: np.dtype) -> bool:
    """Whether `dtype` is one of the floating types, bfloat16 among them."""
    return dtype.kind == "f" or core_name(dtype) == "bfloat16"


def accumulator(dtype: np.dtype) -> np.dtype:
    """Return the type the reference adds up in: float32 for half types, then float64."""
    half = dtype.itemsize == 2 and is_float(dtype)
    return np.dtype(np.float32 if half else np.float64)


def bfloat16() -> np.dtype:
    """Return bfloat16's dtype, importing `ml_dtypes` now that it is needed."""
    try:
        import ml_dtypes
    except ImportError:
        raise TypeError("bfloat16 needs the package ml_dtypes: pip install ml_dtypes") from None
    dtype: np.dtype = np.dtype(ml_dtypes.bfloat16)
    return dtype


def as_dtype(dtype: DTypeLike, name: str = "dtype") -> np.dtype:
    """Return the dtype that a user's `dtype=` argument names."""
    if isinstance(dtype, str) and dtype == "bfloat16":
        return bfloat16()
    try:
        found = np.dtype(dtype)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a NumPy dtype, got {show(dtype)}") from None
    if not found.isnative:
        raise TypeError(f"{name} must be in native byte order, got {found}")
    return check_dtype(found, name)
