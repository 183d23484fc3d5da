"""What came of a run, for people and for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from poolwise.embed.pipeline import Failed


@dataclass(frozen=True)
class Failure:
    """One image without a row."""

    path: str
    reason: str


@dataclass(frozen=True)
class Report:
    """What came of :func:`poolwise.embed.embed`.

    Attributes
    ----------
    output : Path
        The file of vectors.
    rows : int
        Its rows.
    length : int
        Numbers per vector.
    reused : int
        Rows that an earlier run had finished.
    failures : tuple of Failure
        Images without a row, in the order of the images.
    failures_file : Path or None
        Where they are listed; None when there are none.
    seconds : float
        Time taken.
    changed : bool
        False if the output was up to date and nothing was written.
    """

    output: Path
    rows: int
    length: int
    reused: int
    failures: tuple[Failure, ...]
    failures_file: Path | None
    seconds: float
    changed: bool

    @property
    def computed(self) -> int:
        """Rows made by this run."""
        return self.rows - self.reused


class Progress:
    """What a run tells while it runs; the default keeps quiet. Called from one thread."""

    def start(self, total: int, reused: int) -> None:
        """``total`` images, ``reused`` of which an earlier run has finished."""

    def advance(self, images: int, *, failed: bool = False) -> None:
        """More images are done."""

    def note(self, text: str) -> None:
        """Something worth a line."""


def failures_csv(failures: Sequence[Failed]) -> str:
    """The list of failures: columns path, reason."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "reason"])
    writer.writerows((failed.image.name, failed.reason) for failed in failures)
    return text.getvalue()
