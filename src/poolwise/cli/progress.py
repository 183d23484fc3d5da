"""How a run shows itself: a bar on a terminal, a line every few seconds elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from poolwise.embed import MissingExtraError, Progress

_LINE_SECONDS = 5.0


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


def clock(seconds: float) -> str:
    """``0:01:04``."""
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"


class Rate(Progress):
    """Counts; images/s and time left are of this run's own images only."""

    def __init__(self) -> None:
        self.total = self.reused = self.done = self.failed = 0
        self.began = time.monotonic()

    def start(self, total: int, reused: int) -> None:
        self.total, self.reused = total, reused
        self.began = time.monotonic()
        if reused:
            self.note(f"resuming: {reused} of {total} images are finished")

    def advance(self, images: int, *, failed: bool = False) -> None:
        self.done += images
        self.failed += images if failed else 0

    def text(self) -> str:
        """``148 images/s, 0:01:04 left, 2 failed``."""
        seconds = max(time.monotonic() - self.began, 1e-9)
        rate = self.done / seconds
        left = (self.total - self.reused - self.done) / rate if rate else 0.0
        number = f"{rate:.0f}" if rate >= 10 else f"{rate:.1f}"
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{number} images/s, {clock(left)} left{failed}"


class Lines(Rate):
    """Plain lines on stderr, for logs."""

    def __init__(self) -> None:
        super().__init__()
        self._last = time.monotonic()

    def advance(self, images: int, *, failed: bool = False) -> None:
        super().advance(images, failed=failed)
        if time.monotonic() - self._last >= _LINE_SECONDS:
            self._last = time.monotonic()
            self.note(f"{self.reused + self.done} of {self.total} images, {self.text()}")

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


@contextmanager
def _bar() -> Iterator[Progress]:
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as RichProgress
    except ModuleNotFoundError:
        raise MissingExtraError("the progress bar", "rich", "demo") from None

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("[dim]{task.fields[text]}", markup=True),
    )
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as rich:

        class Bar(Rate):
            def start(self, total: int, reused: int) -> None:
                super().start(total, reused)
                self.task = rich.add_task("", total=total, completed=reused, text="")

            def advance(self, images: int, *, failed: bool = False) -> None:
                super().advance(images, failed=failed)
                rich.update(self.task, advance=images, text=self.text())

            def note(self, text: str) -> None:
                rich.console.print(text, markup=False, highlight=False)

        yield Bar()
