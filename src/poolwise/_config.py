"""How many threads work, and what the core is made of: thin, over the native core."""

from __future__ import annotations

from typing import Any

from . import _native
from ._checks import as_int

__all__ = ["get_num_threads", "set_num_threads", "show_config"]

# The core starts a thread each; more than this is a slip, not a machine.
_MOST_THREADS = 1024


def set_num_threads(n: int) -> None:
    """Let pooling use `n` threads, the calling one among them.

    Parameters
    ----------
    n : int
        1 to 1024. The environment variable ``POOLWISE_NUM_THREADS`` sets it before the first use.

    Raises
    ------
    TypeError, ValueError
        If `n` is not such a number.

    Notes
    -----
    Results have the same bits for any number of threads.

    Examples
    --------
    >>> import poolwise as pw
    >>> before = pw.get_num_threads()
    >>> pw.set_num_threads(1)
    >>> pw.get_num_threads()
    1
    >>> pw.set_num_threads(before)
    """
    number = as_int(n, "n", 1)
    if number > _MOST_THREADS:
        raise ValueError(f"n must be at most {_MOST_THREADS} threads, got {number}")
    _native.set_num_threads(number)


def get_num_threads() -> int:
    """Return how many threads pooling may use.

    Examples
    --------
    >>> import poolwise as pw
    >>> pw.get_num_threads() >= 1
    True
    """
    return _native.get_num_threads()


def show_config() -> dict[str, Any]:
    """Return how the core was built and which instruction set it runs.

    Returns
    -------
    dict
        The core's facts: the instruction set in use and those available (``POOLWISE_ISA`` forces
        one), the number of threads, the compiler.

    Examples
    --------
    >>> import poolwise as pw
    >>> "isa" in pw.show_config()
    True
    """
    return dict(_native.config())
