"""The commands `run`, `table`, `readme` and `docs`: from options to results, tables, documents."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import machine, options
from benchmarks.results import read_csv, write_csv

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from benchmarks.results import Result

    Timed = tuple[list[Result], list[str], list[str]]  # results, machines, notes

SIZES, LAYOUTS = ("cache", "memory", "small"), ("nchw", "nhwc")
DTYPES = ("f32", "f16", "bf16", "u8", "i16", "f64")
SECONDS = 3.0


def add_options(command: argparse.ArgumentParser, name: str) -> None:
    if name in ("table", "readme", "docs"):
        more = {"readme": "*"}.get(name, "+")
        command.add_argument("files", nargs=more, type=Path, help="CSV files of `run -o`")
    if name in ("run", "table"):
        command.add_argument("--wide", action="store_true", help="a column for every peer")
        command.add_argument(
            "--check",
            action="store_true",
            help="exit 1 if a case of the README's is slower than a peer",
        )
    if name == "run":
        command.add_argument("--cases", help="groups, parts of names, or readme (default: all)")
        command.add_argument("--size", help=f"{','.join(SIZES)} (default: all)")
        command.add_argument("--layout", help=f"{','.join(LAYOUTS)} (the default)")
        command.add_argument("--dtype", help=f"{','.join(DTYPES)} (the default)")
        command.add_argument("--resume", action="store_true", help="skip what the output has")
    if name in ("run", "readme"):
        command.add_argument("--peers", help="comma-separated (default: all installed)")
        command.add_argument("--threads", help="such as 1,2 (default: all cores, and 1)")
        command.add_argument("--rounds", type=int, default=9, help="most rounds per case (9)")
        command.add_argument(
            "--budget",
            type=float,
            default=SECONDS,
            help=f"seconds for a case's rounds ({SECONDS:g})",
        )
        command.add_argument("--isa", help="force the kernels: baseline, avx2 or avx512")
        command.add_argument("-o", "--output", type=Path, help="write every timing to a CSV file")
        command.add_argument("--markdown", action="store_true", help="print no progress")


def run(given: argparse.Namespace) -> int:
    """Runs one of the commands; 2 if an option is wrong."""
    try:
        return _COMMANDS[given.command](given)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(given: argparse.Namespace) -> int:
    return _show(given, *_time(given))


def _table(given: argparse.Namespace) -> int:
    return _show(given, *read_csv(given.files), [])


def _show(
    given: argparse.Namespace, results: list[Result], machines: list[str], notes: list[str]
) -> int:
    from benchmarks import report
    from benchmarks.catalogue import in_readme
    from benchmarks.targets import slower_than_a_peer

    print(report.markdown(results, machines, notes, wide=given.wide))
    if not given.check:
        return 0
    checked = [result for result in results if in_readme(result.case)]
    if not checked:
        raise ValueError("--check is about the README's cases, and none was timed")
    slow = slower_than_a_peer(checked)
    for result in slow:
        threads = report.in_threads(result.threads)
        print(f"slower than {result.fastest}: {result.case.id}, {threads}", file=sys.stderr)
    return 1 if slow else 0


def _readme(given: argparse.Namespace) -> int:
    from benchmarks import documents

    if given.files:
        results, machines = read_csv(given.files)
    else:
        given.cases, given.size, given.layout, given.dtype = "readme", None, None, None
        given.resume = False
        results, machines, _ = _time(given)
    documents.readme(results, machines)
    return 0


def _docs(given: argparse.Namespace) -> int:
    from benchmarks import documents

    documents.speed(*read_csv(given.files))
    return 0


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "run": _run,
    "table": _table,
    "readme": _readme,
    "docs": _docs,
}


def _time(given: argparse.Namespace) -> Timed:
    from benchmarks import catalogue, peers
    from benchmarks.runner import Runner

    chosen = catalogue.choose(
        [word.strip() for word in given.cases.split(",") if word.strip()] if given.cases else None,
        sizes=options.among("--size", given.size, SIZES),
        layouts=options.among("--layout", given.layout, LAYOUTS),
        dtypes=options.among("--dtype", given.dtype, DTYPES),
    )
    threads = options.positive("--threads", given.threads or f"{machine.cores()},1")
    if given.rounds < 1 or not given.budget > 0:
        raise ValueError("--rounds and --budget must be above 0")
    if given.resume and not given.output:
        raise ValueError("--resume needs -o, the file to go on with")
    names = given.peers.split(",") if given.peers else peers.NAMES
    loaded, notes = peers.load(names)
    told = [f"{one.name}: threads by {one.threads_note}" for one in loaded]
    results: list[Result] = []
    machines = [machine.describe()]
    if given.resume and given.output.exists():
        results, before = read_csv([given.output])
        machines = list(dict.fromkeys([*before, *machines]))
    note = options.notes(given)
    for line in (*notes, *told):
        note(line)
    done = {result.key for result in results}
    runner = Runner(loaded, machine.isa(), given.rounds, given.budget)
    for result in runner.run_all(chosen, threads, note, done):
        results.append(result)
        if given.output:  # after every case, so that an interrupted run leaves what it has
            write_csv(given.output, results, machines)
    return results, machines, notes
