"""The trainer: any sizes, and runs of one seed that are really paired."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import poolwise.torch as pt
from _compare_sets import corners
from poolwise.compare import parse_pools
from poolwise.compare.methods import DEFAULT_POOLS
from poolwise.compare.options import make_options
from poolwise.compare.train import (
    Net,
    as_tensor,
    batches,
    body_pool,
    fitted,
    predict,
    scaled,
    train,
)

METHODS = parse_pools(f"{DEFAULT_POOLS},avg:3/2+gap+warp+multi,lp3:3/2,max:5/3")


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_any_size_gives_an_answer_from_one_pixel_on(method) -> None:
    net = Net(method, 5, 2)
    sizes = [(1, 1), (1, 40), (2, 3), (33, 7), (33, 7), (64, 64)]
    images = [torch.rand(3, *size) for size in sizes]
    scores = net([fitted(image, method.fit, 16) for image in images])
    assert scores.shape == (6, 5)
    scores.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_a_batch_of_many_sizes_is_its_images_one_by_one(method) -> None:
    net = Net(method, 5, 2).double()
    sizes = [(9, 12), (16, 16), (9, 12), (12, 9), (16, 16)]
    images = [torch.rand(3, *size, dtype=torch.float64) for size in sizes]
    alone = torch.cat([net([image]) for image in images])
    torch.testing.assert_close(net(images), alone)


@pytest.mark.parametrize("body", sorted({method.body for method in METHODS}, key=str), ids=str)
def test_body_pooling_reads_every_cell_and_all_make_maps_of_one_size(body) -> None:
    pool = body_pool(body).double()
    for size in range(1, 20):
        image = torch.rand(1, 1, size, size, dtype=torch.float64, requires_grad=True) + 1
        made = pool(image)
        if body.stride == 2:
            assert made.shape[-1] == -(-size // 2)
        if body.kind != "max":
            (gradient,) = torch.autograd.grad(made.sum(), image)
            assert (gradient > 0).all()
        else:
            assert made.max() == image.max()


def test_padding_is_no_data() -> None:
    image = torch.full((1, 1, 5, 5), -3.0)
    for text in ("max:3/2", "avg:3/2"):
        made = body_pool(parse_pools(text)[0].body)(image)
        assert (made == -3).all()


def test_methods_of_one_seed_start_with_the_same_weights() -> None:
    nets = [dict(Net(method, 5, 4, seed=3).named_parameters()) for method in METHODS]
    for name in nets[0]:
        shapes = {net[name].shape for net in nets}
        if name != "classify.weight":
            assert len(shapes) == 1
        for net in nets:
            if net[name].shape == nets[0][name].shape:
                assert torch.equal(net[name], nets[0][name])
    other = dict(Net(METHODS[0], 5, 4, seed=4).named_parameters())
    assert not torch.equal(other["features.0.weight"], nets[0]["features.0.weight"])


def order_of(method, seed: int, epoch: int) -> list[int]:
    data = corners(24, 4)
    options = make_options(preset="quick", batch=5)
    return [k for _, labels in batches(data, method, options, seed, epoch) for k in labels.tolist()]


def test_methods_of_one_seed_see_the_images_in_the_same_order() -> None:
    for seed in (0, 1):
        for epoch in (0, 1):
            orders = {tuple(order_of(method, seed, epoch)) for method in METHODS}
            assert len(orders) == 1
    assert order_of(METHODS[0], 0, 0) != order_of(METHODS[0], 0, 1)
    assert order_of(METHODS[0], 0, 0) != order_of(METHODS[0], 1, 0)


def test_without_a_difference_there_is_none_in_the_weights() -> None:
    """On images of one size, crop and warp do nothing: the trained weights agree to the bit."""
    data = corners(12, 4)
    for k, image in enumerate(data.images):
        data.images[k] = np.ascontiguousarray(image[:, :20, :20])
    options = make_options(preset="quick", epochs=2, width=2)
    whole, crop, warp = (
        train(data, method, options, 0) for method in parse_pools("max:2/2,crop,warp")
    )
    for other in (crop, warp):
        assert other[1] == whole[1]
        for ours, theirs in zip(whole[0].parameters(), other[0].parameters(), strict=True):
            assert torch.equal(ours, theirs)


def test_crop_and_warp_make_squares() -> None:
    image = torch.rand(3, 40, 10)
    assert fitted(image, "warp", 16).shape == (3, 16, 16)
    middle = fitted(image, "crop", 10)
    assert torch.equal(middle, image[:, 15:25])
    generator = torch.Generator().manual_seed(0)
    places = {fitted(image, "crop", 10, generator)[0, 0, 0].item() for _ in range(60)}
    assert len(places) > 15
    assert places <= set(image[0, :, 0].tolist())


def test_multi_size_training_is_at_several_sizes() -> None:
    data, options = corners(24, 4), make_options(preset="quick", batch=1)
    plain, multi = (
        [images[0].shape for images, _ in batches(data, method, options, 0, 0)]
        for method in parse_pools("max:2/2,multi")
    )
    factors = {round(m[1] / p[1], 1) for m, p in zip(multi, plain, strict=True)}
    assert factors == {0.7, 1.0, 1.4}


def test_the_network_sees_what_embed_gives_its_models() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4, 5)).astype(np.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    wanted = (pixels / 255 - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(as_tensor(pixels, "cpu").numpy(), wanted, atol=1e-5)


def test_predictions_are_in_the_order_of_the_test_images() -> None:
    data, options = corners(4, 40), make_options(preset="quick", width=2)
    net = Net(METHODS[0], 4, 2).eval()
    with torch.no_grad():
        wanted = [int(net([as_tensor(data.images[i], "cpu")]).argmax()) for i in data.test]
    assert predict(net, data, METHODS[0], options).tolist() == wanted
    assert len(set(wanted)) > 1
    assert predict(net, data, METHODS[0], options, scaled(0.01)).shape == (40,)


def test_the_pools_are_poolwise_own() -> None:
    net = Net(METHODS[0], 4, 2)
    assert isinstance(net.features[2], pt.MaxPool2d)
    assert isinstance(net.head, pt.SpatialPyramidPool2d)
