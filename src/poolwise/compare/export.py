"""The best network as a file for others: PyTorch weights, and ONNX with free height and width.

The graph is written here, node by node, rather than by torch.onnx: that exporter does not know
poolwise's operators, and pools of maps of free size are not in its vocabulary. A bin's edges,
``⌊i·a/n⌋`` and ``⌈(i+1)·a/n⌉``, are computed in the graph from the map's size. Two outputs: the
feature map, which is what `poolwise embed` looks for, and the classes' scores.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from poolwise.compare.dataset import Dataset
from poolwise.compare.errors import CompareError
from poolwise.compare.methods import parse_pools
from poolwise.compare.options import Options
from poolwise.compare.runs import Run
from poolwise.compare.train import Net
from poolwise.embed import MissingExtraError
from poolwise.embed.options import IMAGENET_MEAN, IMAGENET_STD

OPSET = 19  # the first with ceil_mode in AveragePool
_IR_VERSION = 9
CHECKED_SIZES = ((37, 53), (64, 64), (120, 31))
_TOLERANCE = 1e-3


def save_model(path: Path, net: Net, run: Run, data: Dataset, options: Options) -> None:
    """Weights and what is needed to build the network again; :func:`load_model` reads it."""
    about = {
        "method": str(run.method),
        "classes": list(data.classes),
        "width": options.width,
        "square": data.side,
    }
    torch.save({"about": about, "weights": net.state_dict()}, path)


def load_model(path: Path) -> tuple[Net, dict[str, Any]]:
    """The network of a ``best.pt``, ready to run, and what it was saved with.

    Returns
    -------
    Net
        Call it with a list of images (3, H, W), ``(rgb − mean) / std`` by ImageNet's numbers.
    dict
        ``method``, ``classes``, ``width``, and ``square``, the side for crop and warp.
    """
    saved = torch.load(path, map_location="cpu", weights_only=True)
    about = saved["about"]
    (method,) = parse_pools(about["method"])
    net = Net(method, len(about["classes"]), about["width"])
    net.load_state_dict(saved["weights"])
    return net.eval(), about


class _Graph:
    """Nodes and constants, with names made up as they come."""

    def __init__(self) -> None:
        import onnx

        self.onnx = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        name = f"c{len(self.constants)}"
        array = np.asarray(value, dtype)
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"t{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [output], **attributes))
        return output


def _window(module: Any) -> dict[str, Any]:
    """Kernel, stride and padding of a pooling of torch, as ONNX attributes."""
    size, stride = int(module.kernel_size), int(module.stride)
    padding = int(getattr(module, "padding", 0))
    return {"kernel_shape": [size] * 2, "strides": [stride] * 2, "pads": [padding] * 4}


def _layer(graph: _Graph, module: nn.Module, x: str) -> str:
    """One module of :class:`Net`'s features."""
    match module:
        case nn.Conv2d():
            weight = graph.constant(module.weight.detach().numpy(), np.float32)
            assert module.bias is not None
            bias = graph.constant(module.bias.detach().numpy(), np.float32)
            return graph.add("Conv", x, weight, bias, pads=[int(module.padding[0])] * 4)
        case nn.ReLU():
            return graph.add("Relu", x)
        case nn.MaxPool2d():
            return graph.add("MaxPool", x, ceil_mode=int(module.ceil_mode), **_window(module))
        case nn.AvgPool2d():
            return graph.add("AveragePool", x, ceil_mode=int(module.ceil_mode), **_window(module))
        case nn.LPPool2d():
            return _powers(graph, module, x)
        case nn.ZeroPad2d():
            sides = [0, 0, module.padding[2], module.padding[0], 0, 0, module.padding[3]]
            return graph.add("Pad", x, graph.constant([*sides, module.padding[1]]))
        case nn.Sequential():
            for inner in module:
                x = _layer(graph, inner, x)
            return x
    raise CompareError(
        f"no ONNX nodes are known for {type(module).__name__}: add them to export.py"
    )


def _powers(graph: _Graph, module: nn.LPPool2d, x: str) -> str:
    """lp as the definition says: a root of sums of powers. ONNX's LpPool takes whole p only.

    In ceil mode, zeros to the right and below fill the windows that it cuts off; they add nothing,
    and a mean over a full window times its cells is a sum.
    """
    window = _window(module)
    size, stride = window["kernel_shape"][0], window["strides"][0]
    power = graph.constant(float(module.norm_type), np.float32)
    if module.ceil_mode:
        x = graph.add("Pad", x, graph.constant([0, 0, 0, 0, 0, 0, stride - 1, stride - 1]))
    powers = graph.add("Pow", graph.add("Abs", x), power)
    means = graph.add("AveragePool", powers, **window)
    sums = graph.add("Mul", means, graph.constant(float(size * size), np.float32))
    return graph.add("Pow", sums, graph.constant(1 / float(module.norm_type), np.float32))


def _pyramid(graph: _Graph, x: str, levels: Sequence[int], reducer: str) -> str:
    """Rows of bins, then columns of them; each level flattened, then all in a row."""
    shape = graph.add("Shape", x)
    batch_and_channels = graph.add("Gather", shape, graph.constant([0, 1]))
    vectors = []
    for level in levels:
        made = x
        for axis in (2, 3):
            length = graph.add("Gather", shape, graph.constant([axis]))
            made = _bins(graph, made, level, axis, length, reducer)
        batch = graph.add("Gather", batch_and_channels, graph.constant([0]))
        target = graph.add("Concat", batch, graph.constant([-1]), axis=0)
        vectors.append(graph.add("Reshape", made, target))
    return graph.add("Concat", *vectors, axis=1)


def _bins(graph: _Graph, x: str, count: int, axis: int, length: str, reducer: str) -> str:
    """``count`` bins along one axis, each reduced to one cell."""
    axes, n = graph.constant([axis]), graph.constant([count])
    reduce = "ReduceMax" if reducer == "max" else "ReduceMean"
    bins = []
    for i in range(count):
        start = graph.add("Div", graph.add("Mul", length, graph.constant([i])), n)
        end = graph.add("Mul", length, graph.constant([i + 1]))
        stop = graph.add("Div", graph.add("Add", end, graph.constant([count - 1])), n)
        bins.append(graph.add(reduce, graph.add("Slice", x, start, stop, axes), axes))
    return graph.add("Concat", *bins, axis=axis)


def save_onnx(path: Path, net: Net, run: Run, data: Dataset) -> None:
    """Write the network as ONNX: ``image`` (1, 3, height, width) → ``features``, ``scores``.

    The input is ``(rgb − mean) / std`` by ImageNet's numbers, `poolwise embed`'s default. The file
    carries the classes and the method. For crop and warp the scores are those of the image as it
    is given: make it a square of ``square`` first.

    Raises
    ------
    MissingExtraError
        Without the `onnx` package.
    """
    try:
        from onnx import TensorProto, checker, helper
    except ModuleNotFoundError:
        raise MissingExtraError("best.onnx", "onnx", "compare") from None
    graph = _Graph()
    x = "image"
    for module in net.features:
        x = _layer(graph, module, x)
    features = graph.add("Identity", x, output="features")
    vector = _pyramid(graph, features, run.method.head.levels, run.method.head.reducer)
    weight = graph.constant(net.classify.weight.detach().numpy(), np.float32)
    bias = graph.constant(net.classify.bias.detach().numpy(), np.float32)
    graph.add("Gemm", vector, weight, bias, transB=1, output="scores")
    bins = run.method.head.bins
    channels, classes = net.classify.in_features // bins, len(data.classes)
    described = helper.make_graph(
        graph.nodes,
        "poolwise_compare",
        [
            helper.make_tensor_value_info(
                "image", TensorProto.FLOAT, ["batch", 3, "height", "width"]
            )
        ],
        [
            helper.make_tensor_value_info(
                "features", TensorProto.FLOAT, ["batch", channels, "rows", "columns"]
            ),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", classes]),
        ],
        graph.constants,
    )
    model = helper.make_model(
        described,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=_IR_VERSION,
        producer_name="poolwise",
    )
    helper.set_model_props(
        model,
        {
            "method": str(run.method),
            "classes": json.dumps(list(data.classes)),
            "square": str(data.side),
            "mean": json.dumps(IMAGENET_MEAN),
            "std": json.dumps(IMAGENET_STD),
        },
    )
    checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def largest_difference(path: Path, net: Net) -> float:
    """Run the file beside the network at three sizes; the largest difference of any number.

    Raises
    ------
    CompareError
        If it is more than rounding explains: then the file is not to be used.
    """
    try:
        import onnxruntime as ort
    except ModuleNotFoundError:
        raise MissingExtraError("checking best.onnx", "onnxruntime", "compare") from None
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    largest = 0.0
    for height, width in CHECKED_SIZES:
        image = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(height))
        with torch.inference_mode():
            features = net.features(image)
            wanted = (features, net.classify(net.head(features)))
        made = session.run(["features", "scores"], {"image": image.numpy()})
        for ours, theirs in zip(wanted, made, strict=True):
            if ours.shape != theirs.shape:
                raise CompareError(f"{path}: {theirs.shape} in ONNX, {tuple(ours.shape)} in torch")
            scale = max(1.0, float(ours.abs().max()))
            largest = max(largest, float(np.abs(ours.numpy() - theirs).max()) / scale)
    if not largest < _TOLERANCE:
        raise CompareError(f"{path} differs from the network by {largest:.2g}: please report this")
    return largest
