"""The commands `run`, `table`, `readme`, `docs`, `instructions`, `networks` and `torch-ops`.

`python -m benchmarks run --help` says the options of the first, and so on.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Name: the module that has the command's options and runs it, and what it does.
COMMANDS = {
    "run": ("command", "time the cases and print the tables"),
    "table": ("command", "print the tables of CSV files, timed before"),
    "readme": ("command", "put the short tables into README.md, of CSV files or timed now"),
    "docs": ("command", "put all tables of CSV files into docs/speed.md"),
    "instructions": ("instructions", "count instructions per output with callgrind"),
    "networks": (
        "networks.command",
        "time whole PyTorch networks before and after poolwise.torch.accelerate",
    ),
    "torch-ops": (
        "torch_ops.command",
        "time the functions of poolwise.torch beside those of PyTorch",
    ),
}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    for name, (module, text) in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text)
        given = (name,) if module == "command" else ()
        import_module(f"benchmarks.{module}").add_options(command, *given)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(arguments)
    isa = getattr(options, "isa", None)
    if isa and options.command != "instructions" and os.environ.get("POOLWISE_ISA") != isa:
        # poolwise reads the variable when it is loaded, so this process has to start again.
        sys.stdout.flush()
        environment = {**os.environ, "POOLWISE_ISA": isa}
        os.execve(sys.executable, [sys.executable, "-m", "benchmarks", *arguments], environment)
    module, _ = COMMANDS[options.command]
    return int(import_module(f"benchmarks.{module}").run(options))


if __name__ == "__main__":
    sys.exit(main())
