"""Intervals, tests and sample sizes against SciPy's own tests and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from poolwise.compare.statistics import estimate, holm, over_images, seeds_needed


def test_estimates_are_scipy_paired_t_test() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(0.3, 0.05, (2, 7))
    found = estimate(first - second)
    theirs = stats.ttest_rel(first, second)
    interval = theirs.confidence_interval(0.95)
    assert found.p == pytest.approx(theirs.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("values", [[0.1], [0.1, 0.2]])
def test_one_or_two_seeds_have_no_interval(values: list[float]) -> None:
    found = estimate(values)
    assert (found.low, found.high, found.p) == (None, None, None)
    assert found.mean == pytest.approx(np.mean(values))


def test_differences_that_agree_to_the_image_are_no_proof() -> None:
    found = estimate([0.01, 0.01, 0.01], resolution=0.01)
    assert found.p is not None
    assert found.p > 0.05
    assert found.low is not None
    assert found.low < 0 < found.mean
    nothing = estimate([0.0, 0.0, 0.0], resolution=0.01)
    assert (nothing.p, nothing.low, nothing.high) == (1.0, 0.0, 0.0)
    assert estimate([0.5, 0.5, 0.5]).p is None


def test_intervals_cover_what_they_should() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(1000):
        found = estimate(generator.normal(0.2, 1.0, 5))
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.2 <= found.high
    assert 0.93 < covered / 1000 < 0.97


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.02, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([None, 0.04]) == [None, 0.04]
    assert holm([]) == []


@pytest.mark.parametrize("effect", [0.4, 0.8, 2.0])
def test_seeds_needed_by_simulation(effect: float) -> None:
    n = seeds_needed(effect, 1.0)
    assert n is not None
    draws = np.random.default_rng(2).normal(effect, 1.0, (4000, n))
    found = stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05
    assert 0.78 < found.mean() < 0.93  # whole seeds overshoot where few are needed
    if n > 3:
        fewer = stats.ttest_1samp(draws[:, 1:], 0, axis=1).pvalue < 0.05
        assert fewer.mean() < 0.82


def test_seeds_needed_where_there_is_no_answer() -> None:
    assert seeds_needed(0.0, 1.0) is None
    assert seeds_needed(0.001, 1.0) is None
    assert seeds_needed(1.0, math.nan) is None
    many, few = seeds_needed(0.5, 1.0, alpha=0.005), seeds_needed(0.5, 1.0)
    assert many is not None
    assert few is not None
    assert many > few


def test_over_images_is_the_interval_of_the_mean_over_images() -> None:
    apart = np.random.default_rng(3).choice([-1.0, 0.0, 1.0], (4, 50))
    found = over_images(apart)
    wanted = stats.ttest_1samp(apart.mean(axis=0), 0).confidence_interval(0.95)
    assert found == pytest.approx((wanted.low, wanted.high))
