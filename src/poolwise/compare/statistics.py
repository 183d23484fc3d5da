"""Means with intervals, paired differences, and how many seeds an answer would take.

What varies from seed to seed is the start of the weights and the order of the images; the images
are the same. So these intervals are about training again, not about other images: for those there
is :func:`over_images`, across the test images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

CONFIDENCE = 0.95
ALPHA = 0.05
POWER = 0.8
# Two values have an interval by formula, thirteen times as wide as their distance: no answer.
LEAST_SEEDS = 3
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, its 95 % t-interval, and for differences the paired t-test.

    ``low``, ``high`` and ``p`` are None below three seeds.
    """

    mean: float
    sd: float
    n: int
    low: float | None
    high: float | None
    p: float | None


def estimate(values: ArrayLike, resolution: float = 0.0) -> Estimate:
    """Mean, interval, and the p value of "the mean is 0".

    Parameters
    ----------
    values : array_like
        One number per seed.
    resolution : float
        The smallest step of a value (one test image, say). Values cannot be known to vary by
        less, so this is the least standard deviation: three seeds that happen to agree to the
        image are no proof. Differences that are all exactly 0 give p = 1.

    Examples
    --------
    >>> e = estimate([1.0, 2.0, 3.0])
    >>> round(e.mean, 2), round(e.low, 2), round(e.high, 2), round(e.p, 3)
    (2.0, -0.48, 4.48, 0.074)
    """
    x = np.asarray(values, float)
    n, mean = len(x), float(np.mean(x))
    if n < LEAST_SEEDS:
        return Estimate(mean, float(np.std(x, ddof=1)) if n > 1 else math.nan, n, None, None, None)
    sd = float(np.std(x, ddof=1))
    if not x.any():
        return Estimate(mean, sd, n, 0.0, 0.0, 1.0)
    sd = max(sd, resolution)
    if sd == 0:
        return Estimate(mean, sd, n, mean, mean, None)
    error = sd / math.sqrt(n)
    low, high = stats.t.interval(CONFIDENCE, n - 1, mean, error)
    p = 2 * stats.t.sf(abs(mean) / error, n - 1)
    return Estimate(mean, sd, n, float(low), float(high), float(p))


def over_images(differences: NDArray[np.float64]) -> tuple[float, float] | None:
    """The 95 % interval of a difference across test images, from (seeds, images) differences.

    The networks stay as they are and the images are a sample: how far the difference could be
    from this, on as many other images of the kind.
    """
    per_image = differences.mean(axis=0)
    n = len(per_image)
    if n < LEAST_SEEDS:
        return None
    error = float(np.std(per_image, ddof=1)) / math.sqrt(n)
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * error
    mean = float(per_image.mean())
    return mean - half, mean + half


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction for many comparisons; those without a p value do not count.

    Examples
    --------
    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """
    known = sorted((p, k) for k, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for place, (p, k) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - place) * p))
        corrected[k] = largest
    return corrected


def seeds_needed(mean: float, sd: float, alpha: float = ALPHA) -> int | None:
    """Seeds at which a paired t-test finds such a difference 8 times in 10.

    From the noncentral t distribution, for a two-sided test at ``alpha``. None if more than
    :data:`MOST_SEEDS`.

    Examples
    --------
    >>> seeds_needed(1.0, 1.0), seeds_needed(1.0, 2.0)
    (10, 34)
    """
    if mean == 0 or not math.isfinite(sd):
        return None
    if sd == 0:
        return LEAST_SEEDS

    def power(n: int) -> float:
        critical = stats.t.ppf(1 - alpha / 2, n - 1)
        return float(stats.nct.sf(critical, n - 1, abs(mean) / sd * math.sqrt(n)))

    if power(MOST_SEEDS) < POWER:
        return None
    low, high = LEAST_SEEDS - 1, MOST_SEEDS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle) >= POWER else (middle, high)
    return high
