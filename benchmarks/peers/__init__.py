"""Peers are plug-ins: one module each, with a class that has the face of `Peer`.

To add one: a file here, and its class in `_MODULES`. A peer whose package is not installed is left
out with a note; a case it can't do with the same answer is left empty.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from benchmarks.arrays import Arrays
    from benchmarks.cases import Case

    Outputs = Sequence[np.ndarray]


class Run(NamedTuple):
    """What is timed, and how to see its last result.

    `result` gives one NumPy array of `case.output_shape`, (N, C, ...) whatever the layout in memory
    is; for argmax also the indices, flat over the pooled axes; for backward the input's gradient.
    """

    call: Callable[[], Any]
    result: Callable[[Any], Outputs]


class Peer(Protocol):
    """One implementation. `prepare` does everything that is not the pooling itself."""

    name: str
    checked: bool  # False for yardsticks, which compute nothing
    threads_note: str  # how the number of threads is set, and what else the reader should know

    def set_threads(self, threads: int) -> None: ...

    def prepare(self, case: Case, arrays: Arrays) -> Run | None:
        """The run for this case, or None when this peer can't do it.

        A peer that wants another layout or type of array makes it here, untimed.
        """
        ...


OURS = "poolwise"
COPY, READ = "copy", "read"
_MODULES = {
    OURS: ("benchmarks.peers.ours", "Poolwise"),
    "torch": ("benchmarks.peers.pytorch", "TorchNCHW"),
    "torch-nhwc": ("benchmarks.peers.pytorch", "TorchChannelsLast"),
    "compile": ("benchmarks.peers.pytorch_compiled", "TorchCompile"),
    "onnxruntime": ("benchmarks.peers.onnx_runtime", "ONNXRuntime"),
    "openvino": ("benchmarks.peers.openvino_cpu", "OpenVINO"),
    "jax": ("benchmarks.peers.jax_lax", "JAX"),
    "opencv": ("benchmarks.peers.opencv_filters", "OpenCV"),
    "opencv-dnn": ("benchmarks.peers.opencv_dnn", "OpenCVDNN"),
    "scipy": ("benchmarks.peers.scipy_ndimage", "SciPy"),
    "scikit-image": ("benchmarks.peers.scikit_image", "ScikitImage"),
    COPY: ("benchmarks.peers.yardsticks", "Copy"),
    READ: ("benchmarks.peers.yardsticks", "Read"),
}
YARDSTICKS = (COPY, READ)
NAMES = tuple(name for name in _MODULES if name != OURS)


def load(names: Sequence[str]) -> tuple[list[Peer], list[str]]:
    """The peers that could be loaded, ours first, and a note for each that could not."""
    peers: list[Peer] = []
    notes: list[str] = []
    for name in (OURS, *names):
        if name not in _MODULES:
            raise ValueError(f"no peer is called {name!r}; there are {', '.join(NAMES)}")
        module, attribute = _MODULES[name]
        try:
            peers.append(getattr(import_module(module), attribute)())
        except ModuleNotFoundError as error:
            if name == OURS or (error.name or "").startswith("benchmarks"):
                raise
            notes.append(f"{name} left out: the package {error.name} is not installed")
    return peers, notes
