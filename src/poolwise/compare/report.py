"""`report.html`: one file that needs no other, made of a template and the pictures."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from poolwise.compare import plots
from poolwise.compare.claims import p_text, signed, span
from poolwise.compare.dataset import Dataset
from poolwise.compare.options import Options
from poolwise.compare.runs import SHIFTS
from poolwise.compare.statistics import ALPHA, LEAST_SEEDS, Estimate
from poolwise.compare.summary import Comparison, Row
from poolwise.compare.train import TEST_SCALES, TRAIN_SCALES, Net


def render(comparison: Comparison, data: Dataset, options: Options, net: Net) -> str:
    """The page; ``net`` is a trained network of the baseline, for the picture of its maps."""
    environment = Environment(
        loader=PackageLoader("poolwise.compare", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    figures = [
        (
            "Test error",
            "Small dots are single seeds; the large one is their mean, the line its 95 % interval.",
            plots.errors(comparison),
        ),
        (
            f"Against the baseline, {comparison.baseline.method}",
            "Differences are taken seed by seed. Green and red where p, corrected, is below 0.05.",
            plots.differences(comparison) if len(comparison.rows) > 1 else "",
        ),
        (
            "Error against time",
            "Numbers are those of the table. Lower left is better.",
            plots.error_against_time(comparison),
        ),
        (
            "At other sizes",
            "The same test images at "
            + ", ".join(f"{scale:g} × ({name})" for name, scale in TEST_SCALES.items())
            + " of their size. Dashed: multi-size training.",
            plots.sizes(comparison),
        ),
        (
            "What is kept of one image",
            "All poolings on one map. Orange: the cells that win; the others get no gradient. For "
            "means and lp every cell counts.",
            plots.winners(data, net, options.pools),
        ),
    ]
    page: str = environment.get_template("report.html.j2").render(
        c=comparison,
        options=options,
        figures=[figure for figure in figures if figure[2]],
        rows=[table_row(k, row) for k, row in enumerate(comparison.rows)],
        headline=headline(comparison),
        seed_text=seed_text(comparison),
        test_scales=TEST_SCALES,
        train_scales=TRAIN_SCALES,
        shifts=SHIFTS,
    )
    return page


def table_row(number: int, row: Row) -> dict[str, Any]:
    """The texts of one line of the table, for the page and for the terminal."""
    consistency = row.shift_consistency
    return {
        "number": number + 1,
        "name": row.method.short,
        "method": str(row.method),
        "error": percent(row.error.mean),
        "interval": _interval(row.error),
        "difference": _signed(row.difference),
        "difference_interval": _difference_interval(row.difference),
        "p": "" if row.p_corrected is None else p_text(row.p_corrected)[2:].removeprefix("= "),
        "sizes": {size: percent(row.accuracy(size)) for size in row.accuracies},
        "consistency": "–" if consistency is None else percent(consistency),
        "train": f"{row.train_seconds:.1f}",
        "inference": f"{row.costs.inference_ms:.2f}",
        "share": f"{100 * row.costs.pooling_share:.0f}",
        "memory": f"{row.costs.training_bytes / 1024:.0f}",
        "parameters": f"{row.costs.parameters:,}".replace(",", " "),
    }


def percent(share: float) -> str:
    """Without the sign: ``12.3``."""
    return f"{100 * share:.1f}"


def _interval(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return "–"
    return f"{100 * max(found.low, 0):.1f} to {100 * min(found.high, 1):.1f}"


def _signed(found: Estimate | None) -> str:
    return "baseline" if found is None else signed(found.mean)


def _difference_interval(found: Estimate | None) -> str:
    if found is None or found.low is None or found.high is None:
        return ""
    return span(found.low, found.high)


def headline(comparison: Comparison) -> str:
    """The answer in a sentence or two, no stronger than the seeds allow."""
    best, base = comparison.rows[comparison.best], comparison.baseline
    if len(comparison.rows) == 1:
        return f"{base.method} is wrong on {percent(base.error.mean)} % of the test images."
    if comparison.best == 0:
        text = f"None errs less than the baseline, {base.method}: {percent(base.error.mean)} %."
    else:
        text = (
            f"{best.method} errs least: {percent(best.error.mean)} %, "
            f"against {percent(base.error.mean)} % for the baseline, {base.method}."
        )
    better, worse = ([row for row in comparison.rows if _sure(row, sign)] for sign in (-1, 1))
    if base.error.n < LEAST_SEEDS:
        return f"{text} To say whether that is more than chance {_seeds(base.error.n)} too few."
    found = f"better: {_names(better)}; worse: {_names(worse)}"
    return f"{text} Beyond chance (p < {ALPHA:g}, corrected), {found}."


def _seeds(n: int) -> str:
    return "one seed is" if n == 1 else f"{n} seeds are"


def _sure(row: Row, sign: int) -> bool:
    """Whether a row differs from the baseline in this direction, beyond chance."""
    found, p = row.difference, row.p_corrected
    return found is not None and p is not None and p < ALPHA and found.mean * sign > 0


def _names(rows: list[Row]) -> str:
    return ", ".join(row.method.short for row in rows) or "none"


def seed_text(comparison: Comparison) -> str:
    """What the intervals are about."""
    n = comparison.baseline.error.n
    seeds = f"{n} seed{'s' if n > 1 else ''}"
    text = (
        f"{seeds}: each is another start of the weights and another order of the training images, "
        "the same for all methods. The images and their split are the same for all seeds."
    )
    if n < LEAST_SEEDS:
        text += f" From {seeds} no interval can be given; {LEAST_SEEDS} are the least."
    return text
