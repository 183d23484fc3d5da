"""What a method costs: inference time, pooling's share of it, memory kept for training, parameters.

Measured after the runs, in one process and on one thread, all methods in turn in every round; of
each image the best round counts, so that busy moments of the machine do not decide. (Training time
is counted during the runs, as CPU time.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from poolwise.compare.dataset import Dataset
from poolwise.compare.methods import Method
from poolwise.compare.options import Options
from poolwise.compare.runs import one_thread
from poolwise.compare.train import Net, as_tensor, fitted

_ROUNDS = 7
_IMAGES = 24


@dataclass(frozen=True)
class Costs:
    """Of one method, on the comparison's device.

    ``inference_ms`` is per test image, one by one, resizing for crop and warp included;
    ``pooling_share`` is the part of the network's own time spent in body and head pooling;
    ``training_bytes`` is what one image of middling size keeps in memory for the way back.
    """

    inference_ms: float
    pooling_share: float
    training_bytes: int
    parameters: int


def measure(
    methods: Sequence[Method], nets: Sequence[Net], data: Dataset, options: Options
) -> list[Costs]:
    """Costs of trained networks, one per method."""
    images = [as_tensor(data.images[i], options.device) for i in data.test[:_IMAGES]]
    by_area = sorted(data.images, key=lambda image: image[0].size)
    middling = as_tensor(by_area[len(by_area) // 2], options.device)
    stopwatches = [_Stopwatch(net.to(options.device), options.device) for net in nets]
    best = np.full((len(nets), 3, len(images)), np.inf)
    with one_thread(), torch.inference_mode():
        for _ in range(_ROUNDS):
            for k, (method, watch) in enumerate(zip(methods, stopwatches, strict=True)):
                best[k] = np.minimum(best[k], watch.run(images, method.fit, data.side))
    kept = [
        _training_bytes(net, fitted(middling, method.fit, data.side))
        for method, net in zip(methods, nets, strict=True)
    ]
    return [
        Costs(
            inference_ms=1e3 * float(whole.mean()),
            pooling_share=float(pooling.sum() / network.sum()),
            training_bytes=memory,
            parameters=sum(p.numel() for p in net.parameters()),
        )
        for (whole, network, pooling), memory, net in zip(best, kept, nets, strict=True)
    ]


class _Stopwatch:
    """Runs a network image by image; hooks on its poolings add up their time."""

    def __init__(self, net: Net, device: str) -> None:
        self.net, self.device = net, torch.device(device)
        self.pooling = self._began = 0.0

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return perf_counter()

    def _enter(self, module: nn.Module, args: object) -> None:
        self._began = self._now()

    def _leave(self, module: nn.Module, args: object, out: object) -> None:
        self.pooling += self._now() - self._began

    def run(self, images: Sequence[Tensor], fit: str, side: int) -> NDArray[np.float64]:
        """(3, images) seconds: with resizing and no hooks; the network watched; its poolings."""
        seconds = np.zeros((3, len(images)))
        for k, image in enumerate(images):
            began = self._now()
            self.net([fitted(image, fit, side)])
            seconds[0, k] = self._now() - began
        handles = []
        for module in poolings(self.net):
            handles.append(module.register_forward_pre_hook(self._enter))
            handles.append(module.register_forward_hook(self._leave))
        for k, image in enumerate(images):
            ready = fitted(image, fit, side)
            self.pooling = 0.0
            began = self._now()
            self.net([ready])
            seconds[1:, k] = self._now() - began, self.pooling
        for handle in handles:
            handle.remove()
        return seconds


def poolings(net: Net) -> list[nn.Module]:
    """The pooling modules of a network: those of the body, and the head."""
    others = (nn.Conv2d, nn.ReLU)
    return [*(m for m in net.features if not isinstance(m, others)), net.head]


def _training_bytes(net: Net, image: Tensor) -> int:
    """Memory that autograd keeps of one forward pass, each storage once, without the weights."""
    weights = {p.untyped_storage().data_ptr() for p in net.parameters()}
    seen: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        logits = net([image])  # alive until counted, so that no address is used twice
    del logits
    return sum(seen.values())
