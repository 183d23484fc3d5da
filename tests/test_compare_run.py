"""Whole comparisons: planted and null effects, resuming, bad options, what is written."""

from __future__ import annotations

import csv
import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from _compare_sets import corners, noise
from poolwise.compare import (
    CompareError,
    CompareInterrupt,
    Comparison,
    Progress,
    compare,
    load_model,
    parse_pools,
)
from poolwise.compare import schedule as schedule_module
from poolwise.compare.claims import judge
from poolwise.compare.options import make_options
from poolwise.compare.runs import list_runs
from poolwise.compare.schedule import carry_out_all
from poolwise.compare.summary import wrong_answers
from poolwise.compare.train import as_tensor

FILES = {"report.html", "results.csv", "results.json", "best.pt", "best.onnx", "runs"}


def small(output: Path, **changes) -> Comparison:
    settings = {"pools": "max:2/2,gap", "seeds": 3, "epochs": 2, "width": 2, "batch": 8}
    return compare(corners(24, 24), output, **{**settings, **changes}).comparison


def numbers(comparison: Comparison) -> str:
    """Everything but times, which no two runs share."""
    rows = tuple(
        replace(row, train_seconds=0.0, costs=replace(row.costs, inference_ms=0, pooling_share=0))
        for row in comparison.rows
    )
    return replace(comparison, rows=rows).to_json()


def test_a_planted_effect_is_found_and_learned(tmp_path: Path) -> None:
    """Where a square lies only a pyramid can tell: global pooling cannot beat chance by much."""
    found = small(tmp_path, pools="gap,max:2/2", epochs=12, width=4)
    gap, spp = found.rows
    assert spp.error.mean < 0.1
    assert gap.error.mean > 0.4
    (verdict,) = [v for v in found.verdicts if v.claim == "A pyramid beats global average pooling"]
    assert verdict.verdict == "supported"
    assert found.best == 1
    assert spp.p_corrected is not None
    assert spp.p_corrected < 0.05


def test_a_null_effect_is_not_found(tmp_path: Path) -> None:
    data = noise()
    options = make_options(pools="max:2/2,max:3/2,avg:2/2,gap,warp", seeds=3, epochs=2, width=2)
    runs = list_runs(data, options)
    results = carry_out_all(runs, data, options, tmp_path, jobs=1, progress=Progress())
    wrong = [wrong_answers([r for r in results if r.method == str(m)], data) for m in options.pools]
    verdicts = [v for v in judge(options.pools, wrong) if v.verdict != "not asked"]
    assert len(verdicts) == 4
    assert {v.verdict for v in verdicts} == {"unknown"}


class StopAfter(Progress):
    """Ctrl-C once so many runs are finished and some of the next is done."""

    def __init__(self, runs: int) -> None:
        self.left, self.kept = runs, 0

    def start(self, runs: int, kept: int, work: int) -> None:
        self.kept = kept

    def finished(self, name: str, seed: int, error: float) -> None:
        self.left -= 1

    def advance(self, work: int) -> None:
        if self.left == 0:
            self.left = -1
            signal.raise_signal(signal.SIGINT)


def test_a_resumed_comparison_equals_one_that_was_not_interrupted(tmp_path: Path) -> None:
    whole = small(tmp_path / "whole")
    with pytest.raises(CompareInterrupt) as caught:
        small(tmp_path / "stopped", progress=StopAfter(2))
    assert (caught.value.finished, caught.value.runs, caught.value.signal) == (2, 6, 2)
    assert {path.name for path in (tmp_path / "stopped").iterdir()} == {"runs"}
    watch = StopAfter(-1)
    resumed = small(tmp_path / "stopped", progress=watch)
    assert watch.kept == 2
    assert numbers(resumed) == numbers(whole)
    weights = [
        load_model(tmp_path / name / "best.pt")[0].state_dict() for name in ("whole", "stopped")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_processes_give_the_numbers_of_one(tmp_path: Path) -> None:
    one = small(tmp_path / "one", seeds=2)
    two = small(tmp_path / "two", seeds=2, jobs=2)
    assert numbers(one) == numbers(two)


def test_only_what_is_new_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []
    carry_out = schedule_module.carry_out

    def watched(run, *arguments):
        trained.append((run.method.short, run.seed))
        return carry_out(run, *arguments)

    monkeypatch.setattr(schedule_module, "carry_out", watched)
    small(tmp_path, seeds=1)
    small(tmp_path, seeds=2, pools="max:2/2,gap,avg:2/2")
    assert trained == [
        ("max:2/2", 0),
        ("gap", 0),
        ("avg:2/2", 0),
        ("max:2/2", 1),
        ("gap", 1),
        ("avg:2/2", 1),
    ]
    small(tmp_path, seeds=1, epochs=1)
    assert len(trained) == 8


def test_a_damaged_result_is_made_again(tmp_path: Path) -> None:
    whole = small(tmp_path)
    for path in sorted((tmp_path / "runs").glob("*.json"))[:2]:
        path.write_text(path.read_text()[:50])
    first, second = sorted((tmp_path / "runs").glob("*.pt"))[-2:]
    first.unlink()
    second.write_bytes(b"not a network")
    assert numbers(small(tmp_path)) == numbers(whole)


def test_what_is_written(tmp_path: Path) -> None:
    found = small(tmp_path, pools="max:2/2,avg:3/2+gap,warp+multi")
    assert {path.name for path in tmp_path.iterdir()} == FILES
    with open(tmp_path / "results.csv", encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["method"], line["seed"]) for line in lines][:4] == [
        ("max:2/2+spp:1-2-4", "0"),
        ("max:2/2+spp:1-2-4", "1"),
        ("max:2/2+spp:1-2-4", "2"),
        ("avg:3/2+gap", "0"),
    ]
    errors = [float(line["error"]) for line in lines[:3]]
    assert np.mean(errors) == pytest.approx(found.baseline.error.mean, abs=1e-5)
    made = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert made["rows"][0]["method"] == "max:2/2+spp:1-2-4"
    assert made["rows"][1]["difference"]["mean"] == pytest.approx(
        found.rows[1].error.mean - found.baseline.error.mean
    )
    assert made["setup"]["seeds"] == 3


def test_costs_are_those_of_the_network(tmp_path: Path) -> None:
    found = small(tmp_path, seeds=1, pools="max:2/2,gap,spp:8")
    spp, gap, eight = (row.costs for row in found.rows)
    bodies = 3 * 2 * 9 + 2 + 2 * 4 * 9 + 4 + 4 * 8 * 9 + 8
    assert gap.parameters == bodies + 8 * 4 + 4
    assert spp.parameters == bodies + 21 * 8 * 4 + 4
    assert eight.parameters == bodies + 64 * 8 * 4 + 4
    for costs in (spp, gap, eight):
        assert 0 < costs.pooling_share < 1
        assert costs.inference_ms > 0
        assert costs.training_bytes > 20 * 20 * (3 + 2) * 4  # the image and the first map at least


def test_best_model_is_the_one_of_the_results(tmp_path: Path) -> None:
    data = corners(24, 24)
    found = small(tmp_path)
    net, about = load_model(tmp_path / "best.pt")
    row = found.rows[found.best]
    assert about["method"] == str(row.method)
    assert about["classes"] == list(data.classes)
    with torch.inference_mode():
        answers = [int(net([as_tensor(data.images[i], "cpu")]).argmax()) for i in data.test]
    right = float(np.mean(np.array(answers) == data.labels[data.test]))
    assert right == pytest.approx(row.accuracies["native"][found.best_seed])


def test_one_method_and_one_seed_will_do(tmp_path: Path) -> None:
    found = small(tmp_path, pools="lp2:3/2+gmp", seeds=1)
    assert found.baseline.error.low is None
    assert "no interval can be given" in (tmp_path / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pools": "max:2/2,box"}, "'box' is no pooling"),
        ({"seeds": 0}, "seeds must be a whole number from 1 to 1000, not 0"),
        ({"epochs": -1}, "epochs must be"),
        ({"width": 1.5}, "width must be"),
        ({"batch": True}, "batch must be"),
        ({"learning_rate": float("nan")}, "learning_rate must be above 0"),
        ({"preset": "slow"}, "preset must be one of quick, standard, thorough, not 'slow'"),
        ({"device": "abacus"}, "device 'abacus' cannot be used"),
        ({"device": "meta:x"}, "device 'meta:x' cannot be used"),
        ({"jobs": 0}, "jobs must be"),
        ({"max_side": -1}, "max_side must be"),
        ({"pools": parse_pools("gap") * 2}, "pools must be methods, each once"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(
    tmp_path: Path, changes: dict, message: str
) -> None:
    with pytest.raises(CompareError) as caught:
        small(tmp_path / "out", **changes)
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("mine")
    with pytest.raises(CompareError, match="not of poolwise compare"):
        small(tmp_path)
    assert (tmp_path / "report.html").read_text() == "mine"
    with pytest.raises(CompareError, match="is a file"):
        small(tmp_path / "report.html")
