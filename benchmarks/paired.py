"""Interleaved rounds that keep their pairs: what the tables about PyTorch are measured with.

`runner.py` compares kernels by the best of rounds. A whole network is different: it takes seconds,
its ratio may be 1.02, and a shared machine drifts by more than that within a row. So a ratio here
is the median of the rounds' own ratios, each of two calls made one after the other, and the number
of rounds comes from a budget of seconds, so that a table ends when it is expected to.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Call = Callable[[], object]

LEAST_ROUNDS = 3
SAMPLE_SECONDS = 0.01  # shorter calls are repeated within a round, to outlast clock and scheduler
WARMED_SECONDS = 0.1  # shorter calls are made once more, untimed, before each sample


@dataclass(frozen=True)
class Samples:
    """Seconds of one call, one number per round; round i of every peer is of the same moment."""

    seconds: tuple[float, ...]

    @property
    def best(self) -> float:
        return min(self.seconds)

    @property
    def median(self) -> float:
        return median(self.seconds)


class Ratio(NamedTuple):
    """How many times longer the other took: above 1, ours is the faster."""

    paired: float  # the median of the rounds' ratios
    low: float  # the quartiles of the rounds' ratios: how far to trust it
    high: float
    of_medians: float
    of_bests: float


def compare(theirs: Samples, ours: Samples) -> Ratio:
    rounds = [t / o for t, o in zip(theirs.seconds, ours.seconds, strict=True)]
    low, _, high = quantiles(rounds, n=4, method="inclusive") if len(rounds) > 1 else rounds * 3
    return Ratio(median(rounds), low, high, theirs.median / ours.median, theirs.best / ours.best)


def plan(estimates: Mapping[str, float], rounds: int, seconds: float) -> tuple[int, dict[str, int]]:
    """The rounds that fit into `seconds`, at most `rounds`, and each call's repeats in a round."""
    repeats = {
        name: max(1, round(SAMPLE_SECONDS / max(estimate, 1e-9)))
        for name, estimate in estimates.items()
    }
    one_round = sum(
        estimate * (repeats[name] + (estimate < WARMED_SECONDS))
        for name, estimate in estimates.items()
    )
    fitting = int(seconds / max(one_round, 1e-9))
    return min(rounds, max(LEAST_ROUNDS, fitting)), repeats


def interleave(calls: Mapping[str, Call], rounds: int, seconds: float) -> dict[str, Samples]:
    """Times the calls, which have each been made once already, in interleaved rounds.

    Every other round runs backwards: none is always the one that follows a certain other.
    """
    estimates = {name: _sample(call, 1, warmed=False) for name, call in calls.items()}
    count, repeats = plan(estimates, rounds, seconds)
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(count):
        for name in list(calls) if number % 2 == 0 else reversed(list(calls)):
            warmed = estimates[name] < WARMED_SECONDS
            taken[name].append(_sample(calls[name], repeats[name], warmed=warmed))
    return {name: Samples(tuple(values)) for name, values in taken.items()}


def _sample(call: Call, repeats: int, *, warmed: bool) -> float:
    if warmed:
        # The peer before may still have threads spinning and has emptied the caches.
        call()
    began = perf_counter()
    for _ in range(repeats):
        call()
    return (perf_counter() - began) / repeats
