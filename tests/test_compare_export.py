"""best.onnx: torch's numbers at every size, and a backbone for `poolwise embed`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from PIL import Image
from torch import nn

from _compare_sets import corners
from poolwise.compare import CompareError, parse_pools
from poolwise.compare.export import CHECKED_SIZES, largest_difference, save_onnx
from poolwise.compare.methods import DEFAULT_POOLS
from poolwise.compare.runs import Run
from poolwise.compare.train import Net
from poolwise.embed import embed

DATA = corners(8, 8)
METHODS = parse_pools(f"{DEFAULT_POOLS},max:4/3,avg:5/3+spp:3-5,lp2.5:3/2,lp3:4/3+gap,max:3/1")


def exported(folder: Path, method) -> tuple[Net, Path]:
    net, path = Net(method, 4, 3, seed=1).eval(), folder / "best.onnx"
    with torch.no_grad():
        for name, weight in net.named_parameters():
            if name.endswith("bias"):  # zero at the start, which would hide a bias left out
                weight.normal_()
    save_onnx(path, net, Run(method, 0, "key"), DATA)
    return net, path


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_onnx_gives_torch_numbers_at_every_size(tmp_path: Path, method) -> None:
    net, path = exported(tmp_path, method)
    assert len(CHECKED_SIZES) == 3
    assert largest_difference(path, net) < 1e-5
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for height, width in ((1, 1), (2, 7), (5, 3), (13, 50)):
        image = torch.rand(2, 3, height, width)
        with torch.inference_mode():
            features = net.features(image)
            scores = net(list(image))
        made = session.run(["features", "scores"], {"image": image.numpy()})
        np.testing.assert_allclose(made[0], features.numpy(), atol=1e-4)
        np.testing.assert_allclose(made[1], scores.numpy(), atol=1e-4)


def test_a_file_that_differs_is_not_accepted(tmp_path: Path) -> None:
    net, path = exported(tmp_path, METHODS[0])
    with torch.no_grad():
        net.classify.bias += 1
    with pytest.raises(CompareError, match="differs from the network"):
        largest_difference(path, net)


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    _, path = exported(tmp_path, METHODS[1])
    about = ort.InferenceSession(str(path)).get_modelmeta().custom_metadata_map
    assert about["method"] == str(METHODS[1])
    assert json.loads(about["classes"]) == list(DATA.classes)
    assert json.loads(about["mean"]) == [0.485, 0.456, 0.406]


def test_a_module_without_nodes_is_named(tmp_path: Path) -> None:
    net = Net(METHODS[0], 4, 3)
    net.features.append(nn.Hardswish())
    with pytest.raises(CompareError, match="no ONNX nodes are known for Hardswish"):
        save_onnx(tmp_path / "x.onnx", net, Run(METHODS[0], 0, "key"), DATA)


def test_embed_takes_the_file_as_it_is(tmp_path: Path) -> None:
    _, path = exported(tmp_path, METHODS[0])
    folder = tmp_path / "photos"
    folder.mkdir()
    for k, size in enumerate([(30, 50), (64, 20), (33, 33)]):
        Image.effect_noise(size, 80).save(folder / f"{k}.png")
    report = embed([str(folder)], tmp_path / "out.npz", backbone=f"onnx:{path}")
    assert (report.rows, len(report.failures)) == (3, 0)
    assert report.length == 12 * 21
