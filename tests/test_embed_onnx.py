"""A CNN of the user's own: which models are taken, what they see, and what is said of the rest."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

import poolwise as pw
from poolwise.embed import EmbedError, MissingExtraError, embed
from poolwise.embed.decode import decode
from poolwise.embed.onnx import OnnxBackbone
from poolwise.embed.options import IMAGENET_MEAN, IMAGENET_STD, model_identity
from poolwise.embed.sources import image_file

Shape = list[Any]
WEIGHTS = np.random.default_rng(0).normal(size=(5, 3, 3, 3)).astype(np.float32)


def cnn(
    path: Path,
    *,
    shape: Shape | None = None,
    head: bool = False,
    weights: np.ndarray = WEIGHTS,
    kind: int = TensorProto.FLOAT,
    outputs: tuple[str, ...] = (),
    external: bool = False,
) -> Path:
    """conv 3×3/2 → relu ("features") → global mean ("pooled") [→ flatten → ("classes")]."""
    shape = shape or ["n", 3, "h", "w"]
    weights = weights.astype(helper.tensor_dtype_to_np_dtype(kind))
    nodes = [
        helper.make_node("Conv", ["image", "weights"], ["convolved"], strides=[2, 2]),
        helper.make_node("Relu", ["convolved"], ["features"]),
        helper.make_node("GlobalAveragePool", ["features"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["classes"]),
    ]
    last = outputs or (("classes",) if head else ("features",))
    ranks = {"classes": ["n", 5]}
    graph = helper.make_graph(
        nodes if head or outputs else nodes[:2],
        "cnn",
        [helper.make_tensor_value_info("image", kind, shape)],
        [helper.make_tensor_value_info(o, kind, ranks.get(o, ["n", 5, "y", "x"])) for o in last],
        [numpy_helper.from_array(weights, "weights")],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    options = {"save_as_external_data": True, "size_threshold": 0} if external else {}
    onnx.save(model, str(path), location=f"{path.name}.data" if external else None, **options)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    random = np.random.default_rng(1)
    for i, (width, height) in enumerate([(40, 30), (31, 57), (9, 9), (200, 120)]):
        noise = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")
    return folder


def vectors(path: Path) -> np.ndarray:
    return np.array(pq.read_table(path)["vector"].to_pylist(), np.float32)


def convolved(path: Path, mean: Any, std: Any, max_side: int = 512) -> np.ndarray:
    """conv + relu with NumPy."""
    rgb = decode(image_file(str(path)), max_side=max_side, limit_pixels=10**8).rgb
    rgb = (rgb - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    windows = np.lib.stride_tricks.sliding_window_view(rgb, (3, 3), (1, 2))[:, ::2, ::2]
    return np.maximum(np.einsum("chwij,ocij->ohw", windows, WEIGHTS), 0)


@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize("external", [False, True])
def test_vectors_are_the_pyramid_of_the_models_map(
    photos: Path, inner: bool, external: bool
) -> None:
    model = cnn(photos.parent / "m.onnx", head=inner, external=external)
    output = photos.parent / "out.parquet"
    name = "features" if inner else None
    report = embed(photos, output, backbone=f"onnx:{model}", onnx_output=name, levels=(1, 2))
    assert (report.rows, report.length, report.failures) == (4, 25, ())
    for vector, path in zip(vectors(output), sorted(photos.iterdir()), strict=True):
        expected = convolved(path, IMAGENET_MEAN, IMAGENET_STD)
        expected = pw.spatial_pyramid_pool(expected.astype(np.float32), (1, 2), "max")
        np.testing.assert_allclose(vector, expected, rtol=1e-4, atol=1e-4)


def test_mean_std_and_max_side(photos: Path) -> None:
    model = cnn(photos.parent / "m.onnx")
    output = photos.parent / "out.parquet"
    options = {"mean": (0.5,), "std": (0.1, 0.2, 0.3), "max_side": 64, "pool": "mean"}
    embed(photos, output, backbone=f"onnx:{model}", levels=(1,), **options)  # type: ignore[arg-type]
    expected = convolved(photos / "3.png", [0.5] * 3, (0.1, 0.2, 0.3), 64).mean((1, 2))
    np.testing.assert_allclose(vectors(output)[3], expected, rtol=1e-3)


def test_half_precision_models(photos: Path) -> None:
    model = cnn(photos.parent / "m.onnx", kind=TensorProto.FLOAT16)
    output = photos.parent / "out.parquet"
    assert embed(photos, output, backbone=f"onnx:{model}").length == 5 * 21
    assert np.isfinite(vectors(output)).all()


def test_images_too_small_for_the_model_are_failures(photos: Path) -> None:
    Image.new("RGB", (2, 2)).save(photos / "4.png")
    model = cnn(photos.parent / "m.onnx")
    report = embed(photos, photos.parent / "out.parquet", backbone=f"onnx:{model}")
    assert report.rows == 4
    assert "2 × 2" in report.failures[0].reason


def test_maps_that_are_not_finite_are_failures(photos: Path) -> None:
    model = cnn(photos.parent / "m.onnx", weights=np.full((5, 3, 3, 3), 3e38, np.float32))
    with pytest.raises(EmbedError, match="NaN or inf"):
        embed(photos, photos.parent / "out.parquet", backbone=f"onnx:{model}")


REFUSED: list[tuple[dict[str, Any], str | None, str]] = [
    ({"shape": ["n", 3, 224, 224]}, None, r"fixed size only \(224 × 224\).*dynamic_axes"),
    ({"shape": ["n", 3, "h", 32]}, None, "fixed size only"),
    ({"shape": [8, 3, "h", "w"]}, None, "batches of 8 only"),
    ({"head": True}, None, "'classes' has 2 axes.*--onnx-output: convolved, features, pooled"),
    ({"head": True}, "nonsense", "no tensor 'nonsense'.*convolved, features, pooled"),
    ({"outputs": ("features", "pooled")}, None, r"2 outputs; name one.*features\|pooled"),
    ({"shape": ["n", "h", "w", 3], "weights": np.zeros((5, 3, 3, 3))}, None, "fixed size"),
]


@pytest.mark.parametrize(("model", "output", "message"), REFUSED)
def test_unusable_models_are_refused_before_anything_is_written(
    photos: Path, model: dict[str, Any], output: str | None, message: str
) -> None:
    path = cnn(photos.parent / "m.onnx", **model)
    before = sorted(photos.parent.iterdir())
    with pytest.raises(EmbedError, match=message):
        embed(photos, photos.parent / "o.parquet", backbone=f"onnx:{path}", onnx_output=output)
    assert sorted(photos.parent.iterdir()) == before


def test_a_channel_count_other_than_three(photos: Path) -> None:
    weights = np.zeros((5, 1, 3, 3), np.float32)
    path = cnn(photos.parent / "m.onnx", shape=["n", 1, "h", "w"], weights=weights)
    with pytest.raises(EmbedError, match="takes 1 channels; images have 3"):
        embed(photos, photos.parent / "o.parquet", backbone=f"onnx:{path}")


def test_a_size_fixed_inside_the_graph_is_found_by_trying(tmp_path: Path) -> None:
    shape = numpy_helper.from_array(np.array([1, 3, 256, 224]), "shape")
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["image", "shape"], ["turned"]),
            helper.make_node("Relu", ["turned"], ["y"]),
        ],
        "fixed",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, "a", "b"])],
        [shape],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(path))
    with pytest.raises(EmbedError, match="cannot embed images of any size"):
        OnnxBackbone(path, output=None, mean=(0, 0, 0), std=(1, 1, 1))


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(100)])
def test_files_that_are_no_models(photos: Path, content: bytes) -> None:
    path = photos.parent / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(EmbedError, match="cannot load the model"):
        embed(photos, photos.parent / "o.parquet", backbone=f"onnx:{path}")


def test_another_model_under_the_same_name_is_not_mixed(photos: Path) -> None:
    path = cnn(photos.parent / "m.onnx")
    output = photos.parent / "out.parquet"
    embed(photos, output, backbone=f"onnx:{path}")
    assert not embed(photos, output, backbone=f"onnx:{path}").changed
    cnn(path, weights=WEIGHTS * 2)
    with pytest.raises(EmbedError, match="model_sha256"):
        embed(photos, output, backbone=f"onnx:{path}")


def test_external_weights_are_part_of_the_identity(tmp_path: Path) -> None:
    path = cnn(tmp_path / "m.onnx", external=True)
    before = model_identity(path)
    data = tmp_path / "m.onnx.data"
    data.write_bytes(bytes(data.stat().st_size))
    assert model_identity(path) != before
    model = onnx.load(str(path), load_external_data=False)
    model.graph.initializer[0].external_data[0].value = "ext.bin"
    path.write_bytes(model.SerializeToString())
    data.rename(tmp_path / "ext.bin")
    before = model_identity(path)
    (tmp_path / "ext.bin").write_bytes(b"other weights")
    assert model_identity(path) != before
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(path, tmp_path / "elsewhere")
    with pytest.raises(EmbedError, match="cannot load the model"):
        OnnxBackbone(tmp_path / "elsewhere" / "m.onnx", output=None, mean=(0,) * 3, std=(1,) * 3)


def test_without_onnx_the_message_names_the_extra(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cnn(photos.parent / "m.onnx", head=True)
    output = photos.parent / "o.parquet"
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"onnx: pip install \"poolwise\[onnx\]\""):
        embed(photos, output, backbone=f"onnx:{path}", onnx_output="features")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match="needs onnxruntime"):
        embed(photos, output, backbone=f"onnx:{path}")
