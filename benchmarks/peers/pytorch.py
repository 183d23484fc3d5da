"""PyTorch's own operators, eager, in both of its layouts in memory.

A case in NHWC gives the NCHW peer an NCHW tensor: each peer has the layout it is named after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody knows it by)

from benchmarks.peers import Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.arrays import Arrays
    from benchmarks.cases import Case
    from benchmarks.peers import Outputs

    Pool = Callable[[Any], Any]


def tensor_of(x: np.ndarray) -> torch.Tensor:
    """A tensor over the array's memory; bfloat16 is no NumPy type of torch's."""
    if x.dtype.name == "bfloat16":
        return torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(x)


def array_of(y: torch.Tensor) -> np.ndarray:
    if y.dtype == torch.bfloat16:
        y = y.float()
    return y.detach().numpy()


def pool_of(case: Case) -> Pool:
    """The case as a function of its tensor, or of a list of maps."""
    rank = len(case.spatial)
    if case.levels:
        adaptive = _function(f"adaptive_{case.op}_pool{rank}d")

        def pyramid(x: torch.Tensor) -> torch.Tensor:
            return torch.cat([adaptive(x, level).flatten(1) for level in case.levels], dim=1)

        if not case.maps:
            return pyramid
        return lambda maps: torch.cat([pyramid(one[None]) for one in maps])
    if case.kind == "global" and case.direction != "argmax":
        axes = tuple(range(2, 2 + rank))
        if case.op == "max":
            return lambda x: x.amax(axes, keepdim=True)
        return lambda x: x.mean(axes, keepdim=True)
    options: dict[str, Any] = {"return_indices": True} if case.direction == "argmax" else {}
    if not case.kernel:
        adaptive = _function(f"adaptive_{case.op}_pool{rank}d")
        return lambda x: adaptive(x, case.output_size, **options)
    pool = _function(f"{case.op}_pool{rank}d")
    options |= {"ceil_mode": case.ceil_mode}
    if case.op == "max":
        options |= {"dilation": case.dilation}
    given = (case.kernel, case.stride, case.padding)
    if case.chained == 1:
        return lambda x: pool(x, *given, **options)

    def chain(x: torch.Tensor) -> list[torch.Tensor]:
        outs = []
        for _ in range(case.chained):
            x = pool(x, *given, **options)
            outs.append(x)
        return outs

    return chain


def _function(name: str) -> Callable[..., Any]:
    function: Callable[..., Any] = getattr(F, name)
    return function


def can_do(case: Case) -> bool:
    """What PyTorch has no argument for: means of windows with gaps."""
    return case.op == "max" or set(case.dilation) <= {1}


def has_no_kernel(error: Exception) -> bool:
    """Whether this says so, or that a map's cells cannot be counted in its own dtype (uint8)."""
    return "not implemented" in str(error) or "numeric_limits<integer_t>" in str(error)


class TorchNCHW:
    name = "torch NCHW"
    checked = True
    threads_note = "`torch.set_num_threads`"

    def set_threads(self, threads: int) -> None:
        torch.set_num_threads(threads)

    def prepare(self, case: Case, arrays: Arrays) -> Run | None:
        if not can_do(case):
            return None
        return _run(case, pool_of(case), self.place(case, arrays))

    def place(self, case: Case, arrays: Arrays) -> tuple[Any, torch.Tensor | None]:
        """The input, and the gradient for a backward."""
        if case.maps:
            return [tensor_of(one) for one in arrays.maps], None
        grad = tensor_of(arrays.gradient(case)) if case.direction == "backward" else None
        return tensor_of(arrays.nchw), grad


class TorchChannelsLast(TorchNCHW):
    name = "torch NHWC"

    def prepare(self, case: Case, arrays: Arrays) -> Run | None:
        if case.maps or len(case.spatial) == 1:  # PyTorch has channels last for whole batches only
            return None
        return super().prepare(case, arrays)

    def place(self, case: Case, arrays: Arrays) -> tuple[Any, torch.Tensor | None]:
        x = tensor_of(arrays.nhwc).movedim(-1, 1)
        grad = None
        if case.direction == "backward":
            last = torch.channels_last if len(case.spatial) == 2 else torch.channels_last_3d
            grad = tensor_of(arrays.gradient(case)).contiguous(memory_format=last)
        return x, grad


def _run(case: Case, pool: Pool, placed: tuple[Any, torch.Tensor | None]) -> Run | None:
    """The run, or None where PyTorch has no kernel for it."""
    x, grad = placed
    if grad is not None:
        x = x.detach().requires_grad_()
        output = pool(x)
        return Run(
            lambda: torch.autograd.grad(output, x, grad, retain_graph=True)[0],
            lambda dx: [array_of(dx)],
        )

    def forward() -> Any:
        with torch.inference_mode():
            return pool(x)

    sample = x[:1] if case.maps else x[:1, :1]
    try:
        with torch.inference_mode():
            pool(sample)
    except (NotImplementedError, RuntimeError) as error:
        if not has_no_kernel(error):
            raise
        return None
    return Run(forward, lambda y: outputs_of(case, y))


def outputs_of(case: Case, y: Any) -> Outputs:
    if case.direction == "argmax":
        return [array_of(one) for one in y]
    return [array_of(y[-1] if case.chained > 1 else y)]
