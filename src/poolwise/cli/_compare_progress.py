"""How a comparison shows itself: a bar on a terminal, a line per run elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from poolwise.cli.progress import clock
from poolwise.compare import MissingExtraError, Progress


@contextmanager
def progress_for(*, quiet: bool) -> Iterator[Progress]:
    """Yield the progress that fits stderr."""
    if quiet:
        yield Progress()
    elif sys.stderr.isatty():
        with _bar() as progress:
            yield progress
    else:
        yield Lines()


class Lines(Progress):
    """Plain lines on stderr, one per finished run."""

    def __init__(self) -> None:
        self.runs = self.done = self.work = self.worked = 0
        self.began = time.monotonic()

    def start(self, runs: int, kept: int, work: int) -> None:
        self.runs, self.done, self.work = runs, kept, work
        self.began = time.monotonic()
        if kept:
            self.note(f"resuming: {kept} of {runs} runs are finished")

    def advance(self, work: int) -> None:
        self.worked += work

    def finished(self, name: str, seed: int, error: float) -> None:
        self.done += 1
        said = f"{self.done} of {self.runs} runs: {name}, seed {seed}, error {100 * error:.1f} %"
        self.note(f"{said}, {self.left()} left")

    def left(self) -> str:
        """Time left, going by this run's own work: ``0:02:31``."""
        seconds = time.monotonic() - self.began
        rest = seconds * max(self.work - self.worked, 0) / self.worked if self.worked else 0.0
        return clock(rest)

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


@contextmanager
def _bar() -> Iterator[Progress]:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn
        from rich.progress import Progress as RichProgress
    except ModuleNotFoundError:
        raise MissingExtraError("the progress bar", "rich", "compare") from None

    columns = (
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("[dim]{task.fields[text]}", markup=True),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as rich:
        task = rich.add_task("", total=None, text="")

        class Bar(Lines):
            def reading(self, done: int, total: int) -> None:
                rich.update(task, total=total, completed=done, text=f"reading {total} images")

            def start(self, runs: int, kept: int, work: int) -> None:
                super().start(runs, kept, work)
                rich.update(task, total=work, completed=0, text=f"{kept} of {runs} runs")

            def advance(self, work: int) -> None:
                super().advance(work)
                text = f"{self.done} of {self.runs} runs, {self.left()} left"
                rich.update(task, advance=work, text=text)

            def finished(self, name: str, seed: int, error: float) -> None:
                self.done += 1
                text = f"last: {name}, seed {seed}: {100 * error:.1f} % wrong"
                rich.update(
                    task, text=f"{self.done} of {self.runs} runs, {self.left()} left; {text}"
                )

            def note(self, text: str) -> None:
                rich.console.print(text, markup=False, highlight=False)

        yield Bar()
