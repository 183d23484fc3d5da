"""What poolwise has to reach, as data: each target a few lines, judged on one run's results.

`peer`       twice as fast as the fastest peer, or within 1.3 of the yardstick where a peer already
             runs near the speed of memory (so that twice as fast would be faster than memory)
`never`      slower than no peer
`copy`       within 1.3, 2 or 3 times a copy of the bytes moved, for kernels up to 3, 5 or 63
`argmax`     at most 2.5 times the same case without indices
`gradient`   at least 2 (max), 5 (mean) or 20 (mean, kernels from 13) times as fast as PyTorch
`small`      a small call costs no more than PyTorch's
`bytes`      a smaller type is faster than f32 by about the ratio of the bytes moved

`flat` and `threads` compare cases with each other: they are tables of their own (see `report.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from benchmarks.results import Result

TWICE, EQUAL = 2.0, 0.97
NEAR_MEMORY = 1.3
COPY_LIMITS = ((3, 1.3), (5, 2.0), (63, 3.0))  # kernels up to, times the copy
ARGMAX_LIMIT = 2.5
LONG_KERNEL = 13
ABOUT = 0.8  # of the bytes' ratio
FLAT_LIMIT, SCALING = 2.0, 1.7
TORCH = {"nchw": "torch NCHW", "nhwc": "torch NHWC"}


@dataclass(frozen=True)
class Verdict:
    """Whether a result meets one target: `value` against `limit`, each a ratio."""

    target: str
    met: bool
    value: float
    limit: float

    def __str__(self) -> str:
        sign = ("≥" if self.value >= self.limit else "<") if self.met else ""
        return f"{self.target} {self.value:.2f}{sign or ' for '}{self.limit:.3g}"


class Judge:
    """Verdicts on results; knows the other results of the run, since some targets compare two."""

    def __init__(self, results: Iterable[Result]) -> None:
        self._results = {result.key: result for result in results}

    def verdicts(self, result: Result) -> list[Verdict]:
        """One per target that the case has and that can be judged with what was measured."""
        return [verdict for judge in _TARGETS if (verdict := judge(self, result)) is not None]

    def missed(self, result: Result) -> list[Verdict]:
        return [verdict for verdict in self.verdicts(result) if not verdict.met]

    def twin(self, result: Result, **changes: str) -> Result | None:
        """The result of the group `forward` that differs from this one in `changes` alone."""
        case = replace(result.case, group="forward", **changes)  # type: ignore[arg-type]
        return self._results.get((case.id, result.threads, result.isa))

    def peer(self, result: Result) -> Verdict | None:
        ratio = result.ratio(result.fastest)
        if ratio is None or result.case.direction != "forward" or result.case.size == "small":
            return None
        over = result.to_yardstick()
        near = over is not None and over <= NEAR_MEMORY
        return Verdict("peer", ratio >= TWICE or near, ratio, TWICE)

    def never(self, result: Result) -> Verdict | None:
        ratio = result.ratio(result.fastest)
        return None if ratio is None else Verdict("never", ratio >= EQUAL, ratio, EQUAL)

    def copy(self, result: Result) -> Verdict | None:
        case, over = result.case, result.to_yardstick()
        if over is None or not case.kernel or case.direction != "forward" or case.size == "small":
            return None
        if case.chained > 1:
            return None
        limit = next((limit for k, limit in COPY_LIMITS if max(case.kernel) <= k), None)
        return None if limit is None else Verdict("copy", over <= limit, over, limit)

    def argmax(self, result: Result) -> Verdict | None:
        if result.case.direction != "argmax":
            return None
        plain = self.twin(result, direction="forward")
        return None if plain is None else _at_most("argmax", result.ours / plain.ours, ARGMAX_LIMIT)

    def gradient(self, result: Result) -> Verdict | None:
        case, ratio = result.case, result.ratio(TORCH[result.case.layout])
        if case.direction != "backward" or ratio is None:
            return None
        long = bool(case.kernel) and max(case.kernel) >= LONG_KERNEL
        least = 2.0 if case.op == "max" else 20.0 if long else 5.0
        return Verdict("gradient", ratio >= least, ratio, least)

    def small(self, result: Result) -> Verdict | None:
        if result.case.group != "small":
            return None
        ratios = [r for r in map(result.ratio, TORCH.values()) if r is not None]
        return Verdict("small", min(ratios) >= EQUAL, min(ratios), EQUAL) if ratios else None

    def bytes(self, result: Result) -> Verdict | None:
        if result.case.dtype not in ("f16", "bf16", "u8") or result.case.direction != "forward":
            return None
        wide = self.twin(result, dtype="f32")
        if wide is None:
            return None
        least = ABOUT * wide.case.bytes_moved / result.case.bytes_moved
        return Verdict("bytes", wide.ours / result.ours >= least, wide.ours / result.ours, least)


def _at_most(target: str, value: float, limit: float) -> Verdict:
    return Verdict(target, value <= limit, value, limit)


_TARGETS: Sequence[Callable[[Judge, Result], Verdict | None]] = (
    *(Judge.peer, Judge.never, Judge.copy, Judge.argmax),
    *(Judge.gradient, Judge.small, Judge.bytes),
)


def slower_than_a_peer(results: Iterable[Result]) -> list[Result]:
    """The results that miss `never`: what `run --check` fails on."""
    results = list(results)
    judge = Judge(results)
    return [r for r in results if any(v.target == "never" for v in judge.missed(r))]
