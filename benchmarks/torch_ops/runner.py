"""Compares the peers' answers, then times them in interleaved rounds, large tensors and tiny ones.

`functions` is `poolwise.torch`, an argument so that the runner can be tested without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812

from benchmarks.paired import Samples, compare, interleave
from benchmarks.torch_ops.cases import TINY_MAP

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.torch_ops.cases import Case, Layout, Pooling

    Pool = Callable[[torch.Tensor], torch.Tensor]

SEED = 2014
TOLERANCE = 1e-5  # of the largest number of a tensor; a maximum must be the same bits
OVERHEAD_KINDS = ("no grad", "with grad")


@dataclass(frozen=True)
class Timed:
    """One case and its samples by the peer's name: `poolwise`, `torch`, perhaps `compile`."""

    case: Case
    threads: int
    samples: dict[str, Samples]

    def ratio(self, peer: str) -> float | None:
        """How many times longer the peer took, or None where it was left out."""
        theirs = self.samples.get(peer)
        return None if theirs is None else compare(theirs, self.samples["poolwise"]).paired


@dataclass(frozen=True)
class Overhead:
    """Forward calls on a tiny tensor, by (kind, peer); kinds are those of `OVERHEAD_KINDS`."""

    pooling: Pooling
    samples: dict[tuple[str, str], Samples]

    def times_torch(self, kind: str) -> float:
        """poolwise's time as a multiple of PyTorch's: below 1, a call costs less than theirs."""
        return compare(self.samples[kind, "poolwise"], self.samples[kind, "torch"]).paired


def _input(shape: Sequence[int], layout: Layout) -> torch.Tensor:
    memory = torch.contiguous_format if layout == "nchw" else torch.channels_last
    generator = torch.Generator().manual_seed(SEED)
    return torch.randn(tuple(shape), generator=generator).contiguous(memory_format=memory)


def _step(pool: Pool, case: Case, x: torch.Tensor, dy: torch.Tensor) -> Callable[[], torch.Tensor]:
    """What is timed. Forward and backward are one call, as in training: neither is of use alone."""
    if case.direction == "forward":

        def forward() -> torch.Tensor:
            with torch.no_grad():
                return pool(x)

        return forward
    leaf = x.detach().clone().requires_grad_()
    return lambda: torch.autograd.grad(pool(leaf), leaf, dy)[0]


def check(case: Case, peer: str, theirs: torch.Tensor, ours: torch.Tensor) -> None:
    """Raises `ValueError` unless the answers are equal: in bits for a maximum, else nearly."""
    equal = ours.shape == theirs.shape
    if equal and case.pooling.function.endswith("max_pool2d") and case.direction == "forward":
        equal = torch.equal(ours, theirs)
    elif equal:
        off = float((ours - theirs).abs().max())
        equal = off <= TOLERANCE * float(theirs.abs().max())
    if not equal:
        raise ValueError(f"{case}: {peer} and poolwise differ; nothing was timed")


def run_case(
    case: Case,
    functions: Any,
    peers: Sequence[str],
    threads: int,
    rounds: int,
    seconds: float,
    note: Callable[[str], None],
) -> Timed:
    """Times one case. A peer that can't compile is left out with a note."""
    torch.set_num_threads(threads)
    x = _input(case.shape, case.layout)
    eager = case.pooling.bind(F)
    output = eager(x)
    dy = _input(output.shape, case.layout)
    ours = _step(case.pooling.bind(functions), case, x, dy)
    answer = ours()
    calls = {"poolwise": ours}
    for peer in peers:
        if peer == "compile":
            torch._dynamo.reset()  # or the cases would count as recompilations of one function
        pool = torch.compile(eager, dynamic=False) if peer == "compile" else eager
        call = _step(pool, case, x, dy)
        try:
            theirs = call()
        except RuntimeError as error:
            if peer != "compile":
                raise
            note(f"{case}: compile left out: {str(error).strip().splitlines()[0]}")
            continue
        check(case, peer, theirs, answer)
        calls[peer] = call
    return Timed(case, threads, interleave(calls, rounds, seconds))


def run_overhead(
    pooling: Pooling, functions: Any, threads: int, rounds: int, seconds: float
) -> Overhead:
    """Times forward calls on a tensor so small that the call is all there is to it."""
    torch.set_num_threads(threads)
    x = _input(TINY_MAP, "nchw")
    leaf = x.clone().requires_grad_()
    samples: dict[tuple[str, str], Samples] = {}
    for kind in OVERHEAD_KINDS:
        with torch.set_grad_enabled(kind == "with grad"):
            calls = {}
            for peer, source in (("poolwise", functions), ("torch", F)):
                pool, given = pooling.bind(source), leaf if kind == "with grad" else x
                pool(given)
                calls[peer] = lambda pool=pool, given=given: pool(given)
            for peer, taken in interleave(calls, rounds, seconds).items():
                samples[kind, peer] = taken
    return Overhead(pooling, samples)
