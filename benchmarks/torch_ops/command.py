"""The command `torch-ops`. Nothing here imports PyTorch before it runs."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from benchmarks import machine
from benchmarks.options import add_common, among, check_common, notes
from benchmarks.torch_ops import cases

if TYPE_CHECKING:
    import argparse

    from benchmarks.torch_ops.runner import Overhead, Timed

SECONDS = 2.0
OVERHEAD_SECONDS = 0.5


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--poolings", help='parts of names, such as "max,13x13"')
    command.add_argument("--layout", help="nchw,channels_last (the default)")
    command.add_argument("--direction", help="forward,forward+backward (the default)")
    command.add_argument("--peers", help="torch,compile (the default)")
    command.add_argument("--no-overhead", action="store_true", help="large tensors only")
    command.add_argument("--only-overhead", action="store_true", help="tiny tensors only")
    add_common(command, SECONDS)


def run(options: argparse.Namespace, functions: Any = None) -> int:
    """Measures and prints; 2 if an option is wrong or a package is missing.

    `functions` is `poolwise.torch` unless a test brings its own.
    """
    try:
        from benchmarks.torch_ops import runner, table

        poolings = cases.choose(options.poolings)
        layouts = among("--layout", options.layout, cases.LAYOUTS)
        directions = among("--direction", options.direction, cases.DIRECTIONS)
        peers = among("--peers", options.peers, cases.PEERS)
        threads = check_common(options)
        if functions is None:
            functions = import_module("poolwise.torch")
    except ModuleNotFoundError as error:
        print(f"error: this needs the package {error.name}", file=sys.stderr)
        return 2
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    note = notes(options)
    timed: list[Timed] = []
    overheads: list[Overhead] = []
    budget = (options.rounds, options.seconds)

    def save() -> None:  # after every case, so that an interrupted run leaves what it has
        if options.output:
            table.write_csv(options.output, timed, overheads, threads[-1], machine.isa())

    for count in () if options.only_overhead else threads:
        for case in cases.cases(poolings, layouts, directions):
            note(f"{case}, {count} thread{'s' if count > 1 else ''}")
            timed.append(runner.run_case(case, functions, peers, count, *budget, note))
            save()
    for pooling in () if options.no_overhead else poolings:
        note(f"{pooling.name}, a tiny tensor")
        seconds = min(options.seconds, OVERHEAD_SECONDS)
        overheads.append(
            runner.run_overhead(pooling, functions, threads[-1], options.rounds, seconds)
        )
        save()
    print(table.markdown(timed, overheads, machine.describe()))
    return 0
