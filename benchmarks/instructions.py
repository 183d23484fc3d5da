"""The command `instructions`: what a kernel executes per output, counted by callgrind.

Counts do not depend on how busy a machine is, so they can guard what timings cannot: `--check`
fails when one grew by more than 5 % over those in `instructions.json`. They depend on the compiler,
which is stored with them. valgrind knows no AVX-512, so the kernels are those of AVX2.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from shutil import which
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from benchmarks import instructions_child as child

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

STORE = Path(__file__).resolve().parent / "instructions.json"
GROWTH = 1.05
ISAS = ("baseline", "avx2")

Counts = dict[str, dict[str, float]]  # by ISA, then by case


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--isa", choices=ISAS, default="avx2", help="the kernels (default: avx2)")
    group = command.add_mutually_exclusive_group()
    group.add_argument("--check", action="store_true", help="exit 1 if one grew by over 5 %%")
    group.add_argument("--save", action="store_true", help="store them as those to check against")


def run(options: argparse.Namespace) -> int:
    """Counts, prints, and compares or stores; 2 without valgrind."""
    if which("valgrind") is None:
        print("error: this needs valgrind (apt install valgrind)", file=sys.stderr)
        return 2
    counted = count(options.isa)
    print(counts_table({"instructions": {options.isa: counted}}))
    stored = json.loads(STORE.read_text(encoding="utf-8")) if STORE.exists() else {}
    if options.save:
        import poolwise as pw

        counts = {**stored.get("instructions", {}), options.isa: counted}
        stored = {"compiler": pw.show_config()["compiler"], "instructions": counts}
        STORE.write_text(json.dumps(stored, indent=2) + "\n", encoding="utf-8")
    if options.check:
        grown = growth(counted, stored.get("instructions", {}).get(options.isa, {}))
        for line in grown:
            print(line, file=sys.stderr)
        return 1 if grown else 0
    return 0


def count(isa: str) -> dict[str, float]:
    """Instructions per output of each case, by its name."""
    with TemporaryDirectory() as folder:
        out = Path(folder) / "counts"
        command = [
            *("valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}"),
            f"--dump-before={child.MARK}",
            *(sys.executable, "-m", "benchmarks.instructions_child"),
        ]
        environment = {**os.environ, "POOLWISE_ISA": isa, "POOLWISE_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        ran = done.stdout.split()[-1]
        if ran != isa:
            raise ValueError(f"asked for {isa}, but the kernels of {ran} ran")
        parts = [_total(Path(f"{out}.{number}")) for number in range(1, 2 + 2 * len(child.CASES))]
    # Part 1 is everything before the first mark; then come once and twice the calls of each case.
    per_case = zip(parts[1::2], parts[2::2], strict=True)
    names = list(child.CASES)
    outputs = child.CALLS * child.OUTPUTS
    return {
        name: round((twice - once) / outputs, 3)
        for name, (once, twice) in zip(names, per_case, strict=True)
    }


def _total(path: Path) -> int:
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(("totals:", "summary:")):
            return int(line.split()[1])
    raise ValueError(f"callgrind wrote no total into {path.name}")


def growth(counted: Mapping[str, float], stored: Mapping[str, float]) -> list[str]:
    """A line for each count that grew too much, or that has none to compare with."""
    lines = []
    for name, value in counted.items():
        if name not in stored:
            lines.append(f"{name}: nothing stored to compare with; run with --save first")
        elif value > GROWTH * stored[name]:
            lines.append(f"{name}: {value} instructions per output, {stored[name]} stored")
    return lines


def counts_table(stored: Mapping[str, Any]) -> str:
    """A Markdown table, a column per ISA."""
    from benchmarks.report import grid

    counts: Counts = stored.get("instructions", {})
    names = dict.fromkeys(name for column in counts.values() for name in column)
    rows = [
        [name, *(f"{c[name]:.2f}" if name in c else "-" for c in counts.values())] for name in names
    ]
    return grid(["instructions per output, one thread", *counts], rows)
