"""What turns pixels into a feature map, and how one is chosen by name."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from poolwise.embed.gradients import Gradients
from poolwise.embed.options import Options, model_identity


class Backbone(Protocol):
    """RGB float32 (3, H, W) in [0, 1] → feature map (C, h, w); called by many threads at once."""

    channels: int | None

    def __call__(self, rgb: NDArray[np.float32], /) -> NDArray[np.float32]: ...


def identity(options: Options) -> dict[str, Any]:
    """What the recipe says about the backbone; reads the model's bytes but does not load it."""
    path = options.model_path
    if path is None:
        return Gradients().describe()
    return {"backbone": f"onnx:{path.name}", "model_sha256": model_identity(path)}


def load_backbone(options: Options) -> Backbone:
    """The backbone that ``options`` name, ready to run."""
    path = options.model_path
    if path is None:
        return Gradients()
    from poolwise.embed.onnx import OnnxBackbone

    assert options.mean is not None
    assert options.std is not None
    return OnnxBackbone(path, output=options.onnx_output, mean=options.mean, std=options.std)
