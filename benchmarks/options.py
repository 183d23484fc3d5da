"""What the commands about PyTorch share: lists in options, the budget's options, progress notes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from benchmarks import machine

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

Name = TypeVar("Name", bound=str)


def add_common(command: argparse.ArgumentParser, seconds: float) -> None:
    """The options of every timing with a budget."""
    command.add_argument("--threads", help="such as 1,2 (default: all cores)")
    command.add_argument("--rounds", type=int, default=25, help="most rounds per row (default: 25)")
    command.add_argument(
        "--seconds", type=float, default=seconds, help=f"for the rounds of a row ({seconds:g})"
    )
    command.add_argument("--isa", help="force the kernels: baseline, avx2 or avx512")
    command.add_argument("-o", "--output", type=Path, help="write every row to a CSV file")
    command.add_argument("--markdown", action="store_true", help="print no progress")


def check_common(options: argparse.Namespace) -> list[int]:
    """The numbers of threads; `ValueError` if one of the common options makes no sense."""
    threads = positive("--threads", options.threads or str(machine.cores()))
    if options.rounds < 1 or not options.seconds > 0:
        raise ValueError("--rounds and --seconds must be above 0")
    return threads


def positive(option: str, text: str) -> list[int]:
    """`1,8` as numbers, each once."""
    try:
        numbers = [int(word) for word in text.split(",")]
    except ValueError:
        raise ValueError(f"{option} {text} is not a list of whole numbers, such as 1,8") from None
    if min(numbers) < 1:
        raise ValueError(f"{option} must be at least 1")
    return list(dict.fromkeys(numbers))


def among(option: str, text: str | None, names: Sequence[Name]) -> list[Name]:
    """The names in a comma-separated option, in the order of `names`; None is all of them."""
    words = list(names) if text is None else [word.strip() for word in text.split(",")]
    unknown = [word for word in words if word not in names]
    if unknown:
        raise ValueError(f"{option} has no {unknown[0]!r}; there are {', '.join(names)}")
    return [name for name in names if name in words]


def notes(options: argparse.Namespace) -> Callable[[str], None]:
    """Where progress goes: to stderr, or nowhere."""
    if options.markdown:
        return lambda text: None
    return lambda text: print(text, file=sys.stderr, flush=True)
