"""The commands `run`, `readme`, `networks` and `torch-ops`.

`python -m benchmarks run --help` says the options of the first, and so on.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

README = Path(__file__).resolve().parent.parent / "README.md"


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    for name, text in (
        ("run", "time the cases and print the tables"),
        ("readme", "time the cases and put the tables into README.md between its markers"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("--cases", help="sliding, bins, nhwc, backward, or parts of names")
        command.add_argument("--peers", help="torch, torch-nhwc, copy (the default), scipy")
        command.add_argument("--threads", help="such as 1,2 (default: 1 and all cores)")
        command.add_argument("--rounds", type=int, default=9, help="rounds per case (default: 9)")
        command.add_argument("--isa", help="force the kernels: baseline, avx2 or avx512")
        command.add_argument("-o", "--output", type=Path, help="write every timing to a CSV file")
        if name == "run":
            command.add_argument("--markdown", action="store_true", help="print no progress")
    for name, text in (
        ("networks", "time whole PyTorch networks before and after poolwise.torch.accelerate"),
        ("torch-ops", "time the functions of poolwise.torch beside those of PyTorch"),
    ):
        _torch_command(name).add_options(commands.add_parser(name, help=text, description=text))
    return top


def _torch_command(name: str) -> ModuleType:
    return import_module(f"benchmarks.{name.replace('-', '_')}.command")


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(arguments)
    if options.isa and os.environ.get("POOLWISE_ISA") != options.isa:
        # poolwise reads the variable when it is loaded, so this process has to start again.
        sys.stdout.flush()
        environment = {**os.environ, "POOLWISE_ISA": options.isa}
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks", *arguments], environment)
    if options.command in ("networks", "torch-ops"):
        return int(_torch_command(options.command).run(options))
    from benchmarks import cases, machine, peers, report, runner

    cores = os.cpu_count() or 1
    try:
        chosen = cases.choose(options.cases)
        names = tuple(options.peers.split(",")) if options.peers else peers.DEFAULT
        loaded, notes = peers.load(names)
        threads = [int(n) for n in options.threads.split(",")] if options.threads else [1, cores]
        if min(threads) < 1 or options.rounds < 1:
            raise ValueError("--threads and --rounds must be at least 1")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    quiet = options.command == "run" and options.markdown
    results = []
    for result in runner.run_cases(
        chosen,
        loaded,
        list(dict.fromkeys(threads)),
        options.rounds,
        (lambda text: None) if quiet else (lambda text: print(text, file=sys.stderr, flush=True)),
    ):
        results.append(result)
        if options.output:  # after every case, so that an interrupted run leaves what it has
            report.write_csv(options.output, results, machine.isa())
    table = report.markdown(results, machine.describe(), notes)
    print(table)
    if options.command == "readme":
        text = README.read_text(encoding="utf-8")
        README.write_text(report.replace_between_markers(text, table), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
