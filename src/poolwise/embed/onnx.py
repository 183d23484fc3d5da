"""Any CNN in an ONNX file as the backbone, run by ONNX Runtime.

A model is judged before the first image is decoded: one NCHW float input with three channels and
free height and width, and a 4-D output. ONNX Runtime hands out declared outputs only, so for an
inner feature map the graph is edited with the `onnx` package: the map becomes the only output and
the nodes after it are dropped, which also rids a classifier of its fixed-size head.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from poolwise.embed.errors import EmbedError, ImageError, MissingExtraError

if TYPE_CHECKING:
    import onnxruntime

_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
# Two sizes to try the model on: multiples of 32 (five halvings), as every backbone likes them.
_PROBES = ((224, 256), (256, 192))


class OnnxBackbone:
    """RGB planes in [0, 1] → one feature map of the model, float32.

    Parameters
    ----------
    path : Path
        The ONNX file.
    output : str, optional
        Name of a 4-D tensor of the graph; the model's own output by default.
    mean, std : three floats
        The model sees ``(rgb − mean) / std``.

    Raises
    ------
    EmbedError
        If the model cannot be read or does not take images of any size.
    """

    def __init__(
        self, path: Path, *, output: str | None, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        self._path = path
        self._mean = np.array(mean, np.float32)[:, None, None]
        self._scale = 1 / np.array(std, np.float32)[:, None, None]
        self._session = _open(path)
        self._input, self._dtype = _check_input(path, self._session)
        declared = [out.name for out in self._session.get_outputs()]
        if output is not None and output not in declared:
            self._session = _open(path, inner=output)
            declared = [output]
        self._output = output or _choose_output(path, self._session)
        rank = _rank(self._session, self._output)
        if rank is not None and rank != 4:
            raise EmbedError(_not_a_map(path, self._output, rank))
        self.channels: int | None = self._probe()

    def __call__(self, rgb: NDArray[np.float32]) -> NDArray[np.float32]:
        batch = ((rgb - self._mean) * self._scale)[None].astype(self._dtype, copy=False)
        try:
            result = self._session.run([self._output], {self._input: batch})[0]
        except Exception as error:  # ONNX Runtime's own types derive from Exception directly
            _, height, width = rgb.shape
            raise ImageError(f"the model fails at {width} × {height}: {_short(error)}") from None
        if result.ndim != 4 or len(result) != 1:
            raise ImageError(f"the model gave an array of shape {result.shape}, not (1, C, h, w)")
        features = np.asarray(result[0], np.float32)
        if features.size == 0:
            raise ImageError(f"too small for the model: its map is {features.shape}")
        if not np.isfinite(features).all():
            raise ImageError("the model's feature map holds NaN or inf")
        return features

    def _probe(self) -> int:
        """Run two grey images of different shapes: declared shapes often lie."""
        channels: list[int] = []
        for height, width in _PROBES:
            try:
                features = self(np.full((3, height, width), 0.5, np.float32))
            except ImageError as error:
                hint = " If its head needs one size, name an inner feature map: --onnx-output NAME."
                names = inner_maps(self._path)
                known = f" Its last ones: {', '.join(names)}." if names else ""
                raise EmbedError(
                    f"{self._path} cannot embed images of any size: {error}.{hint}{known}"
                ) from None
            channels.append(features.shape[0])
        if channels[0] != channels[1]:
            raise EmbedError(f"{self._path}: channels depend on the image's size ({channels})")
        return channels[0]


def _open(path: Path, inner: str | None = None) -> onnxruntime.InferenceSession:
    try:
        import onnxruntime as ort
    except ModuleNotFoundError:
        raise MissingExtraError("an onnx backbone", "onnxruntime", "onnx") from None
    settings = ort.SessionOptions()
    # One image per worker and one thread per image: the same sums in the same order every time,
    # and no two thread pools on one core. Memory patterns are for inputs of one size.
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.enable_mem_pattern = False
    settings.log_severity_level = 4
    model: str | bytes = str(path)
    if inner is not None:
        model = cut_at(path, inner)
        # weights that lie beside the model are found from here once it is only bytes
        key = "session.model_external_initializers_file_folder_path"
        settings.add_session_config_entry(key, str(path.parent.resolve()))
    try:
        return ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise EmbedError(f"cannot load the model {path}: {_short(error)}") from None


def _check_input(path: Path, session: onnxruntime.InferenceSession) -> tuple[str, Any]:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(item.name for item in inputs)
        raise EmbedError(f"{path} takes {len(inputs)} inputs ({names}); one image is wanted")
    name, shape, kind = inputs[0].name, inputs[0].shape, inputs[0].type
    if kind not in _FLOATS:
        raise EmbedError(f"{path}: input {name!r} is {kind}; float or float16 is wanted")
    if len(shape) != 4:
        raise EmbedError(f"{path}: input {name!r} has {len(shape)} axes; (N, 3, H, W) is wanted")
    batch, channels, height, width = shape
    if isinstance(channels, int) and channels != 3:
        layout = " (is it channels-last?)" if width == 3 else ""
        raise EmbedError(f"{path} takes {channels} channels{layout}; images have 3, as N,3,H,W")
    if isinstance(height, int) or isinstance(width, int):
        raise EmbedError(
            f"{path} takes images of a fixed size only ({height} × {width}). Export it with free "
            "height and width: torch.onnx.export(..., dynamic_axes="
            f"{{{name!r}: {{2: 'height', 3: 'width'}}}})"
        )
    if isinstance(batch, int) and batch != 1:
        raise EmbedError(f"{path} takes batches of {batch} only; images come one at a time")
    return name, _FLOATS[kind]


def _rank(session: onnxruntime.InferenceSession, output: str) -> int | None:
    """Axes of an output, None where the file does not say."""
    shapes = {out.name: out.shape for out in session.get_outputs()}
    return len(shapes[output]) or None


def _choose_output(path: Path, session: onnxruntime.InferenceSession) -> str:
    names = [out.name for out in session.get_outputs()]
    if len(names) == 1:
        return str(names[0])
    maps = [name for name in names if _rank(session, name) == 4]
    if len(maps) == 1:
        return str(maps[0])
    raise EmbedError(f"{path} has {len(names)} outputs; name one: --onnx-output {'|'.join(names)}")


def _not_a_map(path: Path, output: str, rank: int) -> str:
    names = inner_maps(path)
    choices = f": {', '.join(names)}" if names else ""
    return (
        f"{path}: output {output!r} has {rank} axes, a feature map has 4 (N, C, h, w). "
        f"Name an inner one with --onnx-output{choices}"
    )


def _short(error: Exception) -> str:
    """The last clause of ONNX Runtime's message: the rest is codes and source files."""
    return str(error).strip().splitlines()[0][-300:]


def _graph(path: Path) -> Any:
    """The model without its weights' data, or a clear word on what is missing."""
    try:
        import onnx
    except ModuleNotFoundError:
        raise MissingExtraError("--onnx-output with an inner name", "onnx", "onnx") from None
    try:
        return onnx.load(str(path), load_external_data=False)
    except Exception as error:
        raise EmbedError(f"cannot load the model {path}: {_short(error)}") from None


def cut_at(path: Path, output: str) -> bytes:
    """The model as bytes with ``output`` as its only output and nothing after it.

    Raises
    ------
    EmbedError
        If the graph computes no tensor of that name; the message lists some that it does.
    """
    model = _graph(path)  # says so if the package is missing
    import onnx

    producers = {name: node for node in model.graph.node for name in node.output if name}
    if output not in producers:
        choices = ", ".join(inner_maps(path)) or "none found"
        raise EmbedError(f"{path} has no tensor {output!r}; feature maps near its end: {choices}")
    needed: set[str] = set()
    wanted = [output]
    while wanted:
        name = wanted.pop()
        if name in needed:
            continue
        needed.add(name)
        if name in producers:
            wanted += _reads(producers[name])
    kept = [node for node in model.graph.node if needed.intersection(node.output)]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    del model.graph.output[:]
    # neither type nor shape: ONNX Runtime infers both
    model.graph.output.append(onnx.ValueInfoProto(name=output))
    try:
        return bytes(model.SerializeToString())
    except Exception as error:
        raise EmbedError(f"cannot cut the model {path} at {output!r}: {_short(error)}") from None


def _reads(node: Any) -> list[str]:
    """Tensors a node reads, also those its branches and loop bodies take from outside."""
    names = [name for name in node.input if name]
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                names += _reads(inner)
    return names


def inner_maps(path: Path, count: int = 5) -> list[str]:
    """Names of the last 4-D tensors of the graph, for messages; empty without the onnx package."""
    try:
        import onnx.shape_inference

        model = onnx.shape_inference.infer_shapes(_graph(path))
    except Exception:
        return []
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*model.graph.value_info, *model.graph.output)
    }
    names = [name for node in model.graph.node for name in node.output if ranks.get(name) == 4]
    return names[-count:]
