"""Peers are plug-ins: one module each, with a class that has the face of `Peer`.

To add one: a file here, and its class in `_MODULES`. A peer whose package is not installed is left
out with a note; a case it can't do is left empty.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from benchmarks.cases import Case


class Run(NamedTuple):
    """What is timed, and how to see its last result as an (N, C, ...) NumPy array."""

    call: Callable[[], Any]
    result: Callable[[Any], np.ndarray]


class Peer(Protocol):
    """One implementation. `prepare` does everything that is not the pooling itself."""

    name: str
    checked: bool  # False for the copy, which computes nothing

    def set_threads(self, threads: int) -> None: ...

    def prepare(self, case: Case, x: np.ndarray, grad: np.ndarray | None) -> Run | None:
        """The run for this case, or None when this peer can't do it.

        `x` is C-contiguous (N, C, H, W); a peer that wants another layout makes it here, untimed.
        """
        ...


_MODULES = {
    "poolwise": ("benchmarks.peers.ours", "Poolwise"),
    "torch": ("benchmarks.peers.pytorch", "TorchNCHW"),
    "torch-nhwc": ("benchmarks.peers.pytorch", "TorchChannelsLast"),
    "scipy": ("benchmarks.peers.scipy_ndimage", "SciPy"),
    "copy": ("benchmarks.peers.copying", "Copy"),
}
NAMES = tuple(name for name in _MODULES if name != "poolwise")
DEFAULT = ("torch", "torch-nhwc", "copy")


def load(names: tuple[str, ...]) -> tuple[list[Peer], list[str]]:
    """The peers that could be loaded, ours first, and a note for each that could not."""
    peers: list[Peer] = []
    notes: list[str] = []
    for name in ("poolwise", *names):
        if name not in _MODULES:
            raise ValueError(f"no peer is called {name!r}; there are {', '.join(NAMES)}")
        module, attribute = _MODULES[name]
        try:
            peers.append(getattr(import_module(module), attribute)())
        except ModuleNotFoundError as error:
            if name == "poolwise" or (error.name or "").startswith("benchmarks"):
                raise
            notes.append(f"{name} left out: the package {error.name} is not installed")
    return peers, notes
