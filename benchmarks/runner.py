"""The one runner: checks that the answers agree, then times in interleaved rounds.

Interleaved, because a shared machine slows down and speeds up for seconds at a time: one call of
each peer per round puts all of them under the same weather, and ratios hold even where times do
not. The best of the rounds is what the code can do; the median says how disturbed the machine was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.cases import Case
    from benchmarks.peers import Peer, Run

SLOW_CALL_SECONDS = (
    0.25  # a peer this slow is timed in a few rounds only: its noise is small beside it
)
SLOW_ROUNDS = 3
SHORT_CALL_SECONDS = (
    0.002  # calls shorter than this are repeated within a round to outlast the clock
)
MAX_REPEATS = 50


@dataclass(frozen=True)
class Timing:
    """Seconds of one call."""

    best: float
    median: float
    rounds: int


@dataclass(frozen=True)
class Result:
    """One case with one number of threads: timings by the peer's name."""

    case: Case
    threads: int
    timings: dict[str, Timing]

    @property
    def ours(self) -> float:
        return self.timings["poolwise"].best

    def ratio(self, peer: str) -> float | None:
        """How many times longer the peer took: above 1, poolwise is the faster."""
        timing = self.timings.get(peer)
        return None if timing is None else timing.best / self.ours


@dataclass
class _Entry:
    run: Run
    repeats: int = 1
    rounds: int = 1
    slow: bool = False
    seconds: list[float] = field(default_factory=list)

    def measure(self) -> None:
        call = self.run.call
        if not self.slow:
            # Untimed: the peer before may still have threads spinning and has emptied the caches.
            call()
        began = perf_counter()
        for _ in range(self.repeats):
            call()
        self.seconds.append((perf_counter() - began) / self.repeats)


def inputs(case: Case) -> tuple[np.ndarray, np.ndarray | None]:
    """The case's input and, for a backward, the gradient of its output: fixed by the seed."""
    rng = np.random.default_rng(2014)
    x = rng.standard_normal(case.shape, dtype=np.float32)
    if case.direction == "forward":
        return x, None
    sizes = (n + 2 * case.padding - case.kernel for n in case.shape[2:])
    height, width = (size // case.stride + 1 for size in sizes)
    return x, rng.standard_normal((*case.shape[:2], height, width), dtype=np.float32)


def run_case(case: Case, peers: Sequence[Peer], threads: int, rounds: int) -> Result:
    """Times one case; raises `ValueError` if a peer's answer is not ours."""
    x, grad = inputs(case)
    entries: dict[str, _Entry] = {}
    ours: np.ndarray | None = None
    for peer in peers:
        peer.set_threads(threads)
        run = peer.prepare(case, x, grad)
        if run is None:
            continue
        answer = run.result(run.call())  # also the first warm-up
        if peer.checked and ours is None:
            ours = np.array(answer)
        elif peer.checked:
            _check_equal(case, peer.name, ours, answer)
        entries[peer.name] = _Entry(run)
    for entry in entries.values():
        _plan_rounds(entry, rounds)
    for number in range(rounds):
        for entry in entries.values():
            if number < entry.rounds:
                entry.measure()
    timings = {
        name: Timing(min(entry.seconds), float(np.median(entry.seconds)), len(entry.seconds))
        for name, entry in entries.items()
    }
    return Result(case, threads, timings)


def _plan_rounds(entry: _Entry, rounds: int) -> None:
    entry.measure()  # the second warm-up, and an estimate
    (estimate,) = entry.seconds
    entry.seconds.clear()
    entry.slow = estimate > SLOW_CALL_SECONDS
    entry.rounds = min(rounds, SLOW_ROUNDS) if entry.slow else rounds
    if rounds > 1:
        entry.repeats = max(1, min(MAX_REPEATS, round(SHORT_CALL_SECONDS / max(estimate, 1e-9))))


def _check_equal(case: Case, peer: str, ours: np.ndarray | None, theirs: np.ndarray) -> None:
    assert ours is not None
    # A maximum is one of the inputs, so it is the same bits everywhere. Sums differ in their order,
    # by an error that grows with the number of terms: here at most all cells of a plane.
    if case.op == "max" and case.direction == "forward":
        equal = np.array_equal(ours, theirs)
    else:
        equal = ours.shape == theirs.shape and np.allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    if not equal:
        raise ValueError(f"{case.name}: {peer} and poolwise differ; nothing was timed")


def run_cases(
    cases: Sequence[Case],
    peers: Sequence[Peer],
    threads: Sequence[int],
    rounds: int,
    note: Callable[[str], None],
) -> Iterator[Result]:
    """All cases with each number of threads; `note` is told what is being measured."""
    for count in threads:
        for case in cases:
            note(f"{case.name}, {count} thread{'s' if count > 1 else ''}")
            yield run_case(case, peers, count, rounds)
