"""The runner: one model in PyTorch and its accelerated copy, compared and then timed in pairs.

`accelerate` is an argument, so that the runner can be tested without poolwise's own.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from benchmarks.paired import Ratio, Samples, compare, interleave

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import nn

    from benchmarks.networks.catalogue import Layout, Network, Setting

    Accelerate = Callable[[nn.Module], nn.Module]

# Largest differences, as parts of the largest number of a tensor. An average may be summed in
# another order (1e-7); the layers after it amplify that, and so do their gradients.
OUTPUT_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 1e-3
SEED = 13


@dataclass(frozen=True)
class Row:
    """One network in one setting."""

    network: Network
    setting: Setting
    torch: Samples
    poolwise: Samples

    @property
    def ratio(self) -> Ratio:
        return compare(self.torch, self.poolwise)

    @property
    def threshold(self) -> float:
        return self.network.threshold(self.setting)

    @property
    def missed(self) -> bool:
        return self.ratio.paired < self.threshold


class Step:
    """What is timed: a forward, and in training the loss and its backward as well."""

    def __init__(self, model: nn.Module, x: torch.Tensor, *, training: bool, inner: bool) -> None:
        self.model = model.train(training)
        self.x = x.detach().clone().requires_grad_(training and inner)
        self.training = training

    def __call__(self) -> torch.Tensor:
        if not self.training:
            with torch.inference_mode():
                return self.model(self.x)
        self.model.zero_grad(set_to_none=True)
        self.x.grad = None
        output = self.model(self.x)
        output.square().mean().backward()
        return output

    def answers(self) -> dict[str, torch.Tensor]:
        """The output and every gradient of one step; dropout drops the same cells each time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            found = {"output": self().detach()}
        if self.training:
            leaves = {"input": self.x, **dict(self.model.named_parameters())}
            found |= {
                f"gradient of {name}": leaf.grad
                for name, leaf in leaves.items()
                if leaf.grad is not None
            }
        return found


def memory_format(layout: Layout, axes: int) -> torch.memory_format:
    """The layout's name in PyTorch for inputs of so many axes, with the batch's."""
    if layout == "nchw":
        return torch.contiguous_format
    return torch.channels_last if axes == 4 else torch.channels_last_3d


def prepare(network: Network, setting: Setting, accelerate: Accelerate) -> tuple[Step, Step]:
    """The network's step and that of its accelerated copy, with inputs and weights in place."""
    generator = torch.Generator().manual_seed(SEED)
    x = torch.randn((setting.batch, *network.shape), generator=generator)
    memory = memory_format(setting.layout, x.dim())
    x = x.contiguous(memory_format=memory)
    model = network.build().to(memory_format=memory)
    copy = accelerate(deepcopy(model))
    training = setting.mode == "training"
    return (
        Step(model, x, training=training, inner=network.inner),
        Step(copy, x, training=training, inner=network.inner),
    )


def check(name: str, theirs: Mapping[str, torch.Tensor], ours: Mapping[str, torch.Tensor]) -> None:
    """Raises `ValueError` unless the two have the same tensors, within the tolerances."""
    if theirs.keys() != ours.keys():
        missing = ", ".join(sorted(theirs.keys() ^ ours.keys()))
        raise ValueError(f"{name}: only one of the models has the {missing}; nothing was timed")
    for what, expected in theirs.items():
        tolerance = OUTPUT_TOLERANCE if what == "output" else GRADIENT_TOLERANCE
        scale = float(expected.abs().max())
        got = ours[what]
        if got.shape != expected.shape:
            shapes = f"{tuple(got.shape)}, not {tuple(expected.shape)}"
            raise ValueError(f"{name}: the accelerated {what} is {shapes}; nothing was timed")
        off = float((got - expected).abs().max())
        if not off <= tolerance * scale:  # so that NaN is an error too
            raise ValueError(
                f"{name}: the accelerated {what} is off by {off:.3g}, where {scale:.3g} is its "
                f"largest number; nothing was timed"
            )


def run_row(
    network: Network, setting: Setting, accelerate: Accelerate, rounds: int, seconds: float
) -> Row:
    """Times one row; raises `ValueError` if accelerating the network changed its answers."""
    torch.set_num_threads(setting.threads)  # poolwise.torch follows it
    theirs, ours = prepare(network, setting, accelerate)
    check(describe(network, setting), theirs.answers(), ours.answers())
    samples = interleave({"torch": theirs, "poolwise": ours}, rounds, seconds)
    return Row(network, setting, samples["torch"], samples["poolwise"])


def describe(network: Network, setting: Setting) -> str:
    """The row in words, for notes and errors."""
    return (
        f"{network.name}, batch {setting.batch}, {setting.layout}, {setting.mode}, "
        f"{setting.threads} thread{'s' if setting.threads > 1 else ''}"
    )


def run_rows(
    networks: Sequence[Network],
    settings: Sequence[Setting],
    accelerate: Accelerate,
    rounds: int,
    seconds: float,
    note: Callable[[str], None],
) -> Iterator[Row]:
    """All networks in all settings; `note` is told what is being measured and what came out."""
    for number, (network, setting) in enumerate(
        [(network, setting) for network in networks for setting in settings], start=1
    ):
        row = run_row(network, setting, accelerate, rounds, seconds)
        total = len(networks) * len(settings)
        note(f"{number}/{total} {describe(network, setting)}: {row.ratio.paired:.2f}")
        yield row
