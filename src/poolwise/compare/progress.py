"""What a comparison tells whoever is watching; the command shows it as a bar or as lines."""

from __future__ import annotations


class Progress:
    """Told what happens; this one is silent."""

    def reading(self, done: int, total: int) -> None:
        """Images of a folder that are read."""

    def start(self, runs: int, kept: int, work: int) -> None:
        """``work`` is what is left, in images trained on; ``kept`` of ``runs`` are there."""

    def advance(self, work: int) -> None:
        """So much more work is done."""

    def finished(self, name: str, seed: int, error: float) -> None:
        """One run is done; ``error`` is its share of wrong answers."""

    def note(self, text: str) -> None:
        """A line for the reader."""
