"""The one runner: checks that the answers agree, then times in interleaved rounds.

Interleaved, because a shared machine slows down and speeds up for seconds at a time: one call of
each peer per round puts all of them under the same weather, and ratios hold even where times do
not. The best of the rounds is what the code can do; the median says how disturbed the machine was.

The budget of a case is divided among its entries, so that slow peers take no rounds away from fast
ones. One that takes many times as long as we do is never the fastest: its checked call is its
timing. One that would take longer than `HOPELESS_SECONDS`, as a part of the case foretells, is left
out with a note.
"""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter, sleep
from typing import TYPE_CHECKING

from benchmarks.arrays import Arrays
from benchmarks.checks import difference
from benchmarks.peers import OURS
from benchmarks.results import Result, Timing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from benchmarks.cases import Case
    from benchmarks.peers import Outputs, Peer, Run

SLOW_SECONDS = 0.1  # a call this slow, and that many times as slow as ours, is made once
SLOW_TIMES = 8.0
HOPELESS_SECONDS = 10.0  # a call this slow is not made at all
SHORT_SECONDS = 0.002  # shorter calls are repeated within a round, to outlast the clock
SETTLE_SECONDS = 0.004  # OpenMP's threads spin this long, on the cores of whoever is timed next
WARM_SECONDS = 0.005  # of untimed calls first: some last caches keep only what was used twice
MAX_REPEATS = 100
LARGE_BYTES = 2**24  # collecting takes longer than a small case
DIFFERS = "another answer"


@dataclass
class _Entry:
    run: Run
    estimate: float
    repeats: int = 1
    seconds: list[float] = field(default_factory=list)
    spent: float = 0.0

    def measure(self) -> None:
        call, entered = self.run.call, perf_counter()
        sleep(SETTLE_SECONDS)
        # Untimed: the peer before has emptied the caches, and our workers sleep. More than once,
        # since some last caches only keep what was used twice.
        began = perf_counter()
        call()
        while perf_counter() - began < WARM_SECONDS:
            call()
        began = perf_counter()
        for _ in range(self.repeats):
            call()
        ended = perf_counter()
        self.seconds.append((ended - began) / self.repeats)
        self.spent += ended - entered


class Runner:
    """Times cases one after another; keeps the arrays while the shape stays the same."""

    def __init__(
        self, peers: Sequence[Peer], isa: str, rounds: int, budget: float = float("inf")
    ) -> None:
        self.peers, self.isa, self.rounds, self.budget = peers, isa, rounds, budget
        self._arrays: Arrays | None = None

    def run_all(
        self,
        cases: Sequence[Case],
        threads: Sequence[int],
        note: Callable[[str], None],
        done: Collection[tuple[str, int, str]] = (),
    ) -> Iterator[Result]:
        """All cases with each number of threads but those `done`; `note` is told which it is at."""
        for number, case in enumerate(cases, 1):
            for count in threads:
                if (case.id, count, self.isa) in done:
                    continue
                note(f"[{number}/{len(cases)}] {case.id}, {count} threads")
                result = self.run(case, count)
                for peer, text in result.notes.items():
                    note(f"    {peer}: {text}")
                yield result

    def run(self, case: Case, threads: int) -> Result:
        """Times one case, for `budget` seconds after everybody has been called once."""
        arrays, notes = self._arrays_of(case), dict[str, str]()
        entries: dict[str, _Entry] = {}
        ours: Outputs = ()
        for peer in self.peers:
            peer.set_threads(threads)
            if case.heavy and peer.checked and peer.name != OURS:
                foretold = _foretell(case, peer)
                if foretold is not None and foretold > HOPELESS_SECONDS:
                    notes[peer.name] = f"about {foretold:.0f} s a call"
                    continue
            run = peer.prepare(case, arrays)
            if run is None:
                continue
            began = perf_counter()
            answer = run.call()
            entry = _Entry(run, perf_counter() - began)
            if peer.checked:
                outputs = run.result(answer)
                ours = ours or outputs
                unlike = difference(case, ours, outputs)
                if unlike:
                    notes[peer.name] = f"{DIFFERS}: {unlike}"
                    continue
            entries[peer.name] = entry
        self._time(list(entries.values()))
        timings = {
            name: Timing(min(entry.seconds), median(entry.seconds), len(entry.seconds))
            for name, entry in entries.items()
        }
        del entries, ours
        if case.bytes_moved > LARGE_BYTES:
            gc.collect()  # what the peers still hold in cycles, before the next case needs as much
        return Result(case, threads, self.isa, timings, notes)

    def _time(self, entries: Sequence[_Entry]) -> None:
        """Ours is the first entry."""
        slow = max(SLOW_SECONDS, SLOW_TIMES * entries[0].estimate)
        timed = []
        for entry in entries:
            if entry.estimate > slow or self.rounds == 1:
                entry.seconds.append(entry.estimate)
                continue
            entry.measure()  # the first call paid for page faults: a new estimate
            entry.estimate = entry.seconds.pop()
            entry.repeats = max(
                1, min(MAX_REPEATS, round(SHORT_SECONDS / max(entry.estimate, 1e-9)))
            )
            timed.append(entry)
        share = self.budget / max(1, len(timed))
        for _ in range(self.rounds):
            for entry in timed:
                if not entry.seconds or entry.spent < share:
                    entry.measure()

    def _arrays_of(self, case: Case) -> Arrays:
        if self._arrays is None or not self._arrays.serves(case):
            self._arrays = None  # freed before the next are made
            self._arrays = Arrays(case)
        return self._arrays


def _foretell(case: Case, peer: Peer) -> float | None:
    """Seconds of one call, from the second call on a part of the case."""
    part, times_longer = case.part()
    arrays = Arrays(part)
    run = peer.prepare(part, arrays)
    if run is None:
        return None
    seconds = 0.0
    for _ in range(2):
        began = perf_counter()
        run.call()
        seconds = perf_counter() - began
        if seconds * times_longer > 2 * HOPELESS_SECONDS:
            break
    return seconds * times_longer
