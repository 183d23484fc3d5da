"""Everything that decides the numbers of a run, checked once; presets fill in what is not said."""

from __future__ import annotations

import math
from dataclasses import dataclass

from poolwise.compare.errors import CompareError
from poolwise.compare.methods import DEFAULT_POOLS, Method, parse_pools


@dataclass(frozen=True)
class Preset:
    """Seeds, passes over the training images, and channels of the first convolution."""

    seeds: int
    epochs: int
    width: int


PRESETS = {
    "quick": Preset(seeds=3, epochs=4, width=8),
    "standard": Preset(seeds=5, epochs=15, width=8),
    "thorough": Preset(seeds=10, epochs=40, width=16),
}


@dataclass(frozen=True)
class Options:
    """How every method is trained. Built by :func:`make_options`.

    ``seeds`` is how many; they are 0, 1, 2, … and each is one start of the weights and one order
    of the images, the same for all methods.
    """

    pools: tuple[Method, ...]
    seeds: int
    epochs: int
    width: int
    batch: int
    learning_rate: float
    device: str


def make_options(
    *,
    pools: str | tuple[Method, ...] = DEFAULT_POOLS,
    preset: str = "standard",
    seeds: int | None = None,
    epochs: int | None = None,
    width: int | None = None,
    batch: int = 8,
    learning_rate: float = 5e-3,
    device: str = "cpu",
) -> Options:
    """Check the options and take from the preset those that are not given.

    Raises
    ------
    CompareError
        Naming the option, its value and what is allowed.
    """
    if preset not in PRESETS:
        raise CompareError(f"preset must be one of {', '.join(PRESETS)}, not {preset!r}")
    base = PRESETS[preset]
    if not (math.isfinite(learning_rate) and learning_rate > 0):
        raise CompareError(f"learning_rate must be above 0, not {learning_rate!r}")
    methods = parse_pools(pools) if isinstance(pools, str) else tuple(pools)
    if not methods or len(set(methods)) != len(methods):
        raise CompareError("pools must be methods, each once")
    return Options(
        pools=methods,
        seeds=_whole("seeds", base.seeds if seeds is None else seeds, 1000),
        epochs=_whole("epochs", base.epochs if epochs is None else epochs, 100_000),
        width=_whole("width", base.width if width is None else width, 1024),
        batch=_whole("batch", batch, 100_000),
        learning_rate=float(learning_rate),
        device=_device(device),
    )


def _whole(name: str, value: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise CompareError(f"{name} must be a whole number from 1 to {most}, not {value!r}")
    return value


def _device(name: str) -> str:
    import torch

    try:
        torch.empty(1, device=name).add_(1)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise CompareError(f"device {name!r} cannot be used: {reason}") from None
    return name
