"""The command `networks`: its options, and from them to rows, tables and the README.

Nothing here imports PyTorch before it runs: the options of the other commands need none.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from benchmarks import machine, report
from benchmarks.options import add_common, among, check_common, notes, positive

if TYPE_CHECKING:
    import argparse

    from torch import nn

    from benchmarks.networks.catalogue import Network, Setting
    from benchmarks.networks.runner import Accelerate, Row

README = Path(__file__).resolve().parent.parent.parent / "README.md"
SECONDS = 4.0  # with comparing and warming up, all rows are then done in about ten minutes


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--networks", help="parts of names, such as squeezenet,yolo")
    command.add_argument("--batch", help="such as 1,8 (the default; with --readme, 8)")
    command.add_argument("--layout", help="nchw,channels_last (the default)")
    command.add_argument(
        "--mode", help="inference,training (the default; with --readme, no training)"
    )
    add_common(command, SECONDS)
    command.add_argument("--readme", action="store_true", help="put a short table into README.md")
    command.add_argument(
        "--against-itself",
        action="store_true",
        help="time PyTorch against PyTorch: what is noise on this machine",
    )


def run(
    options: argparse.Namespace, accelerate: Accelerate | None = None, readme: Path = README
) -> int:
    """Measures and prints; 2 if an option is wrong or a package is missing.

    `accelerate` is `poolwise.torch.accelerate` unless a test brings its own.
    """
    try:
        from benchmarks.networks import runner, table

        networks, settings = choose(options)
        if options.against_itself:
            accelerate = _unchanged
        elif accelerate is None:
            accelerate = cast("Accelerate", import_module("poolwise.torch").accelerate)
        if options.readme:  # before the minutes of measuring, not after them
            report.replace_between_markers(readme.read_text(encoding="utf-8"), "", table.MARKERS)
    except ModuleNotFoundError as error:
        print(f"error: this needs the package {error.name}", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    note = notes(options)
    rows: list[Row] = []
    budget = (options.rounds, options.seconds)
    for row in runner.run_rows(networks, settings, accelerate, *budget, note):
        rows.append(row)
        if options.output:  # after every row, so that an interrupted run leaves what it has
            table.write_csv(options.output, rows, machine.isa())
    itself = "Both columns are PyTorch's: what a ratio is off from 1 is the machine's noise."
    remarks = [itself] if options.against_itself else []
    print(table.markdown(rows, machine.describe(), remarks))
    if options.readme:
        short = table.readme(rows, machine.describe())
        text = readme.read_text(encoding="utf-8")
        text = report.replace_between_markers(text, short, table.MARKERS)
        readme.write_text(text, encoding="utf-8")
    return 0


def _unchanged(model: nn.Module) -> nn.Module:
    return model


def choose(options: argparse.Namespace) -> tuple[tuple[Network, ...], list[Setting]]:
    """The networks and settings the options ask for; `ValueError` if there are none such."""
    from benchmarks.networks import catalogue, table

    batches = positive("--batch", options.batch or ("8" if options.readme else "1,8"))
    modes = among(
        "--mode",
        options.mode or ("inference" if options.readme else None),
        catalogue.MODES,
    )
    if options.readme and options.against_itself:
        raise ValueError("--against-itself is no table for the README")
    if options.readme and not (table.README_BATCH in batches and "inference" in modes):
        raise ValueError(f"--readme needs batch {table.README_BATCH} and inference")
    layouts = among("--layout", options.layout, catalogue.LAYOUTS)
    settings = catalogue.settings(batches, layouts, modes, check_common(options))
    return catalogue.choose(options.networks), list(settings)
