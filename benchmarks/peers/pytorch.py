"""PyTorch's own operators, eager, in both of its layouts in memory.

A case in NHWC gives the NCHW peer an NCHW tensor: each peer has the layout it is named after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows it by)

from benchmarks.peers import Run

if TYPE_CHECKING:
    import numpy as np

    from benchmarks.cases import Case


def _pool(case: Case, x: torch.Tensor) -> torch.Tensor:
    adaptive = F.adaptive_max_pool2d if case.op == "max" else F.adaptive_avg_pool2d
    if case.kind == "pyramid":
        return torch.cat([adaptive(x, level).flatten(2) for level in case.levels], dim=2)
    if case.kind == "adaptive":
        return adaptive(x, case.output_size)
    pool = F.max_pool2d if case.op == "max" else F.avg_pool2d
    return pool(x, case.kernel, case.stride, case.padding)


class TorchNCHW:
    name = "torch NCHW"
    checked = True
    memory_format = torch.contiguous_format

    def set_threads(self, threads: int) -> None:
        torch.set_num_threads(threads)

    def prepare(self, case: Case, x: np.ndarray, grad: np.ndarray | None) -> Run:
        tensor = torch.from_numpy(x).contiguous(memory_format=self.memory_format)
        if grad is None:
            return Run(lambda: self._forward(case, tensor), lambda y: y.numpy())
        tensor = tensor.requires_grad_()
        output = _pool(case, tensor)
        dy = torch.from_numpy(grad).contiguous(memory_format=self.memory_format)
        return Run(
            lambda: torch.autograd.grad(output, tensor, dy, retain_graph=True)[0],
            lambda dx: dx.numpy(),
        )

    def _forward(self, case: Case, tensor: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return _pool(case, tensor)


class TorchChannelsLast(TorchNCHW):
    name = "torch NHWC"
    memory_format = torch.channels_last
