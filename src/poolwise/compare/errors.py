"""What can go wrong, sorted by who has to act, as in :mod:`poolwise.embed.errors`."""

from __future__ import annotations


class CompareError(ValueError):
    """The comparison cannot be carried out as it was asked for; the text says what to change."""


class CompareInterrupt(KeyboardInterrupt):
    """Stopped by a signal; finished runs are kept and the same call goes on.

    Attributes
    ----------
    signal : int
        Number of the signal (2 for Ctrl-C).
    finished, runs : int
        Runs that have a result, and runs there are.
    """

    def __init__(self, signal: int, finished: int, runs: int) -> None:
        super().__init__(f"stopped with {finished} of {runs} runs finished")
        self.signal = signal
        self.finished = finished
        self.runs = runs
