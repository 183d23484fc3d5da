"""`pooling_report`: what pooling costs a model, call by call, before and after `accelerate`.

The model is run once on the user's example, under a mode that notes every pooling with its input
and the module it was called from. Then each is timed alone, torch's and ours in turn, and the whole
model likewise, so that one noisy moment does not decide.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ._serving import FUNCTIONS, answer
from .accelerate import accelerate, restore

__all__ = ["PoolingCall", "PoolingReport", "pooling_report"]

_ROUNDS = 5


@dataclass(frozen=True)
class PoolingCall:
    """One pooling of a model: where it is called, on what, and its seconds before and after."""

    where: str
    function: str
    shape: tuple[int, ...]
    before: float
    after: float


@dataclass(frozen=True)
class PoolingReport:
    """Every pooling of one run of a model, and the run's own seconds; prints as a table."""

    calls: tuple[PoolingCall, ...]
    before: float
    after: float

    def __str__(self) -> str:
        header = ("pooling", "in", "input", "before", "share", "after", "share", "faster")
        rows = [
            (
                call.function,
                call.where or "(the model)",
                "x".join(map(str, call.shape)),
                *_time_and_share(call.before, self.before),
                *_time_and_share(call.after, self.after),
                f"{call.before / max(call.after, 1e-12):.1f}x",
            )
            for call in self.calls
        ]
        before, after = (sum(getattr(c, name) for c in self.calls) for name in ("before", "after"))
        for name, times in (
            ("all poolings", (before, after)),
            ("whole model", (self.before, self.after)),
        ):
            rows.append(
                (
                    name,
                    "",
                    "",
                    *_time_and_share(times[0], self.before),
                    *_time_and_share(times[1], self.after),
                    f"{times[0] / max(times[1], 1e-12):.1f}x",
                )
            )
        widths = [max(len(row[k]) for row in [header, *rows]) for k in range(len(header))]
        lines = []
        for row in [header, *rows]:
            left = [cell.ljust(w) for cell, w in zip(row[:3], widths[:3], strict=True)]
            right = [cell.rjust(w) for cell, w in zip(row[3:], widths[3:], strict=True)]
            lines.append("  ".join([*left, *right]).rstrip())
        return "\n".join(lines)


def _time_and_share(seconds: float, whole: float) -> tuple[str, str]:
    return f"{1e3 * seconds:.3f} ms", f"{100 * seconds / max(whole, 1e-12):.1f} %"


class _Recorder(TorchFunctionMode):
    def __init__(self, path: list[str]) -> None:
        super().__init__()
        self.path = path
        self.calls: list[tuple[str, Any, tuple[Any, ...], dict[str, Any]]] = []

    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in FUNCTIONS:
            where = self.path[-1] if self.path else ""
            kept = tuple(a.detach() if isinstance(a, torch.Tensor) else a for a in args)
            self.calls.append((where, func, kept, kwargs))
        return func(*args, **kwargs)


def pooling_report(model: nn.Module, *inputs: Any, **kwargs: Any) -> PoolingReport:
    """Time every pooling of a model on an example, before and after `accelerate`.

    Parameters
    ----------
    model : torch.nn.Module
        Left as it is; a copy is run, in the mode (train or eval) that it is in, without gradients.
    *inputs, **kwargs
        What the model is called with.

    Returns
    -------
    PoolingReport
        ``print`` it for a table; its `calls` have the numbers.

    Raises
    ------
    TypeError
        If `model` is no module.

    Examples
    --------
    >>> import torch, poolwise.torch as pt
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.MaxPool2d(2))
    >>> report = pt.pooling_report(net, torch.rand(1, 3, 16, 16))
    >>> [(call.where, call.function) for call in report.calls]
    [('1', 'max_pool2d')]
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    plain, faster = restore(copy.deepcopy(model)), accelerate(copy.deepcopy(model))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        recorded = _record(plain, inputs, kwargs)
        calls = []
        for where, function, args, options in recorded:
            before, after = _times(
                lambda f=function, a=args, o=options: f(*a, **o),  # type: ignore[misc]
                lambda f=function, a=args, o=options: answer(f, a, o),  # type: ignore[misc]
            )
            calls.append(
                PoolingCall(where, _name_of(function), tuple(args[0].shape), before, after)
            )
        whole = _times(lambda: plain(*inputs, **kwargs), lambda: faster(*inputs, **kwargs))
    return PoolingReport(tuple(calls), *whole)


def _name_of(function: Any) -> str:
    """Return the name people know; torch calls those with `return_indices` all the same."""
    for space in (torch.nn.functional, torch):
        for name, value in vars(space).items():
            if value is function:
                return name
    return getattr(function, "__name__", str(function))


def _record(model: nn.Module, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    path: list[str] = []
    handles = []
    for name, module in model.named_modules():
        enter = module.register_forward_pre_hook(lambda m, args, name=name: path.append(name))
        leave = module.register_forward_hook(lambda m, args, out: path.pop() and None)
        handles += [enter, leave]
    recorder = _Recorder(path)
    try:
        with recorder:
            model(*inputs, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return recorder.calls


def _times(before: Callable[[], Any], after: Callable[[], Any]) -> tuple[float, float]:
    best = [float("inf")] * 2
    for number in range(_ROUNDS + 1):
        for k, call in enumerate((before, after)):
            began = perf_counter()
            call()
            if number:  # the first round warms up
                best[k] = min(best[k], perf_counter() - began)
    return best[0], best[1]
