"""From runs to answers: one row per method, verdicts on the claims, all as plain values.

The report, the table, the CSV and the JSON are written from this alone, so they cannot disagree.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from poolwise.compare.claims import Verdict, Wrong, judge
from poolwise.compare.costs import Costs
from poolwise.compare.dataset import Dataset
from poolwise.compare.methods import Method
from poolwise.compare.options import Options
from poolwise.compare.runs import Result
from poolwise.compare.statistics import Estimate, estimate, holm, over_images


@dataclass(frozen=True)
class Row:
    """One method. Errors and differences are shares of the test images, 0 to 1.

    ``accuracies`` has one share per seed for each test size.
    ``difference`` is this method's error minus the baseline's, paired by seed; None for the
    baseline. ``images_low`` and ``images_high`` bound it across the test images.
    """

    method: Method
    error: Estimate
    accuracies: dict[str, tuple[float, ...]]
    difference: Estimate | None
    p_corrected: float | None
    images_low: float | None
    images_high: float | None
    shift_consistency: float | None
    train_seconds: float
    costs: Costs

    def accuracy(self, size: str) -> float:
        """The mean over seeds at a test size."""
        return float(np.mean(self.accuracies[size]))


@dataclass(frozen=True)
class Comparison:
    """Everything a comparison found.

    ``best`` is the index of the row with the lowest mean error and ``best_seed`` the seed of its
    saved network; ``data`` and ``setup`` say what was compared and how; ``onnx_difference`` is the
    largest between the ONNX file and torch, None if no file was written.
    """

    rows: tuple[Row, ...]
    verdicts: tuple[Verdict, ...]
    best: int
    best_seed: int
    data: dict[str, Any]
    setup: dict[str, Any]
    onnx_difference: float | None = None

    @property
    def baseline(self) -> Row:
        return self.rows[0]

    def to_json(self) -> str:
        """All of it; numbers that do not exist are null."""
        fields = asdict(self)
        for row, made in zip(self.rows, fields["rows"], strict=True):
            made["method"] = str(row.method)
        return json.dumps(_finite(fields), indent=1, ensure_ascii=False)


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def wrong_answers(results: Sequence[Result], data: Dataset) -> Wrong:
    """Of one method's runs: for each test size (seeds, images), 1 where the answer is wrong."""
    truth = data.labels[data.test]
    return {
        size: np.array([np.array(r.predictions[size]) != truth for r in results], float)
        for size in results[0].predictions
    }


def summarise(
    data: Dataset,
    options: Options,
    results: Sequence[Sequence[Result]],
    costs: Sequence[Costs],
    setup: dict[str, Any],
) -> Comparison:
    """Compare; ``results`` has the runs of each method, in the order of the seeds."""
    wrong = [wrong_answers(own, data) for own in results]
    resolution = 1 / len(data.test)
    rows = []
    for k, method in enumerate(options.pools):
        errors = wrong[k]["native"].mean(axis=1)
        apart = wrong[k]["native"] - wrong[0]["native"]
        images = over_images(apart) if k else None
        consistency = [r.shift_consistency for r in results[k] if r.shift_consistency is not None]
        rows.append(
            Row(
                method=method,
                error=replace(estimate(errors), p=None),  # "the error is 0" is no question
                accuracies={s: tuple((1 - w.mean(axis=1)).tolist()) for s, w in wrong[k].items()},
                difference=estimate(apart.mean(axis=1), resolution) if k else None,
                p_corrected=None,
                images_low=images[0] if images else None,
                images_high=images[1] if images else None,
                shift_consistency=float(np.mean(consistency)) if consistency else None,
                train_seconds=float(np.mean([r.train_seconds for r in results[k]])),
                costs=costs[k],
            )
        )
    corrected = holm([None if r.difference is None else r.difference.p for r in rows])
    rows = [replace(row, p_corrected=p) for row, p in zip(rows, corrected, strict=True)]
    best = min(range(len(rows)), key=lambda k: rows[k].error.mean)
    return Comparison(
        rows=tuple(rows),
        verdicts=tuple(judge(options.pools, wrong)),
        best=best,
        best_seed=int(np.argmax(rows[best].accuracies["native"])),
        data=data.describe(),
        setup=setup,
    )


def to_csv(comparison: Comparison, results: Sequence[Sequence[Result]]) -> str:
    """One line per method and seed, for tables and plots of one's own."""
    file = io.StringIO()
    sizes = list(results[0][0].predictions)
    names = ["method", "seed", "error", *(f"accuracy_{size}" for size in sizes)]
    names += ["shift_consistency", "final_loss", "train_seconds", "inference_ms", "pooling_share"]
    names += ["training_bytes", "parameters"]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    for row, own in zip(comparison.rows, results, strict=True):
        for k, result in enumerate(own):
            costs = row.costs
            writer.writerow(
                [
                    result.method,
                    result.seed,
                    f"{1 - row.accuracies['native'][k]:.6f}",
                    *(f"{row.accuracies[size][k]:.6f}" for size in sizes),
                    "" if result.shift_consistency is None else f"{result.shift_consistency:.6f}",
                    f"{result.losses[-1]:.6f}",
                    f"{result.train_seconds:.3f}",
                    f"{costs.inference_ms:.4f}",
                    f"{costs.pooling_share:.4f}",
                    costs.training_bytes,
                    costs.parameters,
                ]
            )
    return file.getvalue()
