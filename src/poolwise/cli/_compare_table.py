"""A comparison on the terminal: the table, the claims, where the files are."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from poolwise.compare import Outcome
from poolwise.compare.report import headline, seed_text, table_row

_COLOURS = {"supported": "green", "contradicted": "red", "unknown": "yellow", "not asked": "dim"}
# A terminal narrower than this gets no cost columns; a pipe gets all.
_WIDE = 140
_PIPE_WIDTH = 150
_LEGEND = (
    "error at the images' own size; right answers at smaller and larger sizes; answers that small "
    "shifts leave; differences and p are paired by seed"
)


def print_table(outcome: Outcome) -> None:
    """To stdout, in colours where it is a terminal."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PIPE_WIDTH)
    comparison = outcome.comparison
    wide = console.width >= _WIDE
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("method", justify="left", no_wrap=True)
    names = ["error %", "95 %", "to baseline", "95 %", "p (Holm)"]
    names += [f"{size} %" for size in comparison.baseline.accuracies if size != "native"]
    names += ["shifted %"]
    if wide:
        names += ["train s", "infer ms", "pool %", "KiB", "parameters"]
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for k, row in enumerate(comparison.rows):
        texts = table_row(k, row)
        cells = [texts[key] for key in ("name", "error", "interval", "difference")]
        cells += [texts["difference_interval"], texts["p"]]
        cells += [texts["sizes"][size] for size in row.accuracies if size != "native"]
        cells += [texts["consistency"]]
        if wide:
            cells += [texts[key] for key in ("train", "inference", "share", "memory", "parameters")]
        table.add_row(*cells, style="bold" if k == comparison.best else "")
    console.print(table)
    console.print()
    console.print(_LEGEND, style="dim")
    console.print()
    console.print(headline(comparison), markup=False)
    console.print()
    for verdict in comparison.verdicts:
        console.print(Text(verdict.claim, style=_COLOURS[verdict.verdict]))
        console.print(f"  {verdict.sentence}", markup=False)
    console.print()
    console.print(seed_text(comparison), markup=False, style="dim")
    for note in comparison.data["notes"]:
        console.print(f"note: {note}", markup=False, style="dim")
    files = "report.html, results.csv, results.json, best.pt, best.onnx"
    console.print(f"{outcome.output}: {files}, in {outcome.seconds:.0f} s", markup=False)
