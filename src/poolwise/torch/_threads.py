"""torch's own threads for our work: two pools on the same cores slow each other down.

torch's OpenMP threads spin for a while after each of its operations, on the cores that a pool of
our own would want (measured: docs/design.md). So calls of this front end run on the OpenMP runtime
that torch has loaded, found by its address: no second runtime, and nothing of it at build time.
Where it is not found, our own pool does the work.
"""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import torch

from .. import _native

_RUNTIME = re.compile(r"lib(?:gomp|iomp5|omp)\b.*\.so")


def openmp_parallel() -> int:
    """Return the address of GOMP_parallel in the OpenMP runtime that torch uses, or 0."""
    if "parallel backend: OpenMP" not in torch.__config__.parallel_info():
        return 0
    for path in _loaded_runtimes():
        try:
            function = ctypes.CDLL(path).GOMP_parallel
        except (OSError, AttributeError):
            continue
        return ctypes.cast(function, ctypes.c_void_p).value or 0
    return 0


def _loaded_runtimes() -> list[str]:
    """Return the OpenMP runtimes of this process: torch's own, or the only one there is."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:  # pragma: no cover - not Linux
        return []
    paths = {line.split(maxsplit=5)[-1] for line in maps.splitlines() if ".so" in line}
    found = sorted(path for path in paths if _RUNTIME.match(Path(path).name))
    home = Path(torch.__file__).parent
    own = [path for path in found if home in Path(path).parents or "torch.libs" in path]
    return own or (found if len(found) == 1 else [])


_native.lend_team(openmp_parallel())
