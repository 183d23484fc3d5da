"""The survey's claims, each as pairs of methods that differ in one part, and what the seeds say.

A claim is asked with every pair in the list that fits it; the differences of several pairs are
averaged within a seed, so there is one number per seed and claim.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from poolwise.compare.methods import Body, Head, Method
from poolwise.compare.statistics import (
    ALPHA,
    LEAST_SEEDS,
    MOST_SEEDS,
    Estimate,
    estimate,
    holm,
    over_images,
    seeds_needed,
)

# Wrong answers of a method: size -> (seeds, test images) of 0 and 1.
Wrong = Mapping[str, NDArray[np.float64]]
AT_NATIVE = ("native",)
AT_OTHERS = ("small", "large")


@dataclass(frozen=True)
class Claim:
    """``better`` errs less than ``worse``, as the survey says.

    ``partners`` gives what a method is compared with, where it is one that the claim is about;
    ``sizes`` are the test sizes whose error counts; ``wants`` says how to ask it.
    """

    name: str
    better: str
    worse: str
    partners: Callable[[Method, Sequence[Method]], list[Method]]
    wants: str
    sizes: tuple[str, ...] = AT_NATIVE


@dataclass(frozen=True)
class Verdict:
    """What the seeds say: ``verdict`` is supported, contradicted, unknown or not asked.

    Differences are ``better`` minus ``worse``, as shares: below 0 speaks for the claim.
    """

    claim: str
    verdict: str
    sentence: str
    pairs: tuple[tuple[str, str], ...]
    difference: Estimate | None = None
    p_corrected: float | None = None
    images_low: float | None = None
    images_high: float | None = None
    seeds_needed: int | None = None


def _without_overlap(kind: str) -> Callable[[Method, Sequence[Method]], list[Method]]:
    def partners(method: Method, methods: Sequence[Method]) -> list[Method]:
        body = method.body
        if body.kind != kind or not body.overlaps:
            return []
        plain = replace(body, kernel_size=body.stride)
        return [m for m in methods if m == replace(method, body=plain)]

    return partners


def _mean_for_max(method: Method, methods: Sequence[Method]) -> list[Method]:
    if method.body.kind != "max":
        return []
    body: Body = replace(method.body, kind="avg")
    return [m for m in methods if m == replace(method, body=body)]


def _fixed(fit: str) -> Callable[[Method, Sequence[Method]], list[Method]]:
    def partners(method: Method, methods: Sequence[Method]) -> list[Method]:
        if method.fit != "any":
            return []
        return [m for m in methods if m == replace(method, fit=fit)]

    return partners


def _several(method: Method) -> bool:
    return len(method.head.levels) > 1 and method.head.reducer == "max"


def _finest_alone(method: Method, methods: Sequence[Method]) -> list[Method]:
    head = Head((max(method.head.levels),))
    return [m for m in methods if _several(method) and m == replace(method, head=head)]


def _global(method: Method, methods: Sequence[Method]) -> list[Method]:
    head = Head((1,), "mean")
    return [m for m in methods if _several(method) and m == replace(method, head=head)]


def _one_size(method: Method, methods: Sequence[Method]) -> list[Method]:
    return [m for m in methods if method.multi and m == replace(method, multi=False)]


CLAIMS = (
    Claim(
        "Overlapping max pooling lowers the error",
        "overlapping max windows",
        "windows side by side",
        _without_overlap("max"),
        "max:3/2 and max:2/2",
    ),
    Claim(
        "Overlapping mean pooling lowers the error",
        "overlapping mean windows",
        "windows side by side",
        _without_overlap("avg"),
        "avg:3/2 and avg:2/2",
    ),
    Claim(
        "Max pooling errs less than mean pooling",
        "max pooling",
        "mean pooling",
        _mean_for_max,
        "max:2/2 and avg:2/2",
    ),
    Claim(
        "Images of any size beat cropping",
        "whole images of any size",
        "crops of one size",
        _fixed("crop"),
        "a method, and the same with +crop",
    ),
    Claim(
        "Images of any size beat warping",
        "images in their own shape",
        "images warped to one size",
        _fixed("warp"),
        "a method, and the same with +warp",
    ),
    Claim(
        "A pyramid of several grids beats its finest grid alone",
        "a pyramid of several grids",
        "its finest grid alone",
        _finest_alone,
        "spp:1-2-4 and spp:4",
    ),
    Claim(
        "A pyramid beats global average pooling",
        "a pyramid of several grids",
        "global average pooling",
        _global,
        "spp:1-2-4 and gap",
    ),
    Claim(
        "Training at several sizes helps at sizes other than the images' own",
        "training at several sizes",
        "training at one size",
        _one_size,
        "a method, and the same with +multi",
        AT_OTHERS,
    ),
)


def judge(methods: Sequence[Method], wrong: Sequence[Wrong]) -> list[Verdict]:
    """Every claim against what was run; p values are Holm's, across the claims asked.

    Parameters
    ----------
    methods : sequence of Method
    wrong : sequence of mapping
        For each method and test size, (seeds, test images) of 0 and 1.
    """
    by_method = dict(zip(methods, wrong, strict=True))
    asked = []
    for claim in CLAIMS:
        pairs = [(m, partner) for m in methods for partner in claim.partners(m, methods)]
        differences = [_difference(by_method[a], by_method[b], claim.sizes) for a, b in pairs]
        asked.append((claim, pairs, np.mean(differences, axis=0) if pairs else None))
    estimates = [
        None if d is None else estimate(d.mean(axis=1), 1 / d.shape[1]) for _, _, d in asked
    ]
    corrected = holm([None if e is None else e.p for e in estimates])
    count = sum(e is not None for e in estimates)
    return [
        _verdict(claim, pairs, d, e, p, count)
        for (claim, pairs, d), e, p in zip(asked, estimates, corrected, strict=True)
    ]


def _difference(better: Wrong, worse: Wrong, sizes: Sequence[str]) -> NDArray[np.float64]:
    """(seeds, images), averaged over test sizes."""
    apart = np.array([better[size] - worse[size] for size in sizes])
    return np.asarray(apart.mean(axis=0), float)


def _verdict(
    claim: Claim,
    pairs: Sequence[tuple[Method, Method]],
    differences: NDArray[np.float64] | None,
    found: Estimate | None,
    p: float | None,
    claims_asked: int,
) -> Verdict:
    if differences is None or found is None:
        text = f"Not asked: it takes {claim.wants} in --pools."
        return Verdict(claim.name, "not asked", text, ())
    names = tuple((str(a), str(b)) for a, b in pairs)
    images = over_images(differences)
    low, high = images or (None, None)
    needed = None
    if p is not None and p < ALPHA:
        verdict = "supported" if found.mean < 0 else "contradicted"
        sentence = _known(claim, found, p, images)
    else:
        verdict = "unknown"
        needed = seeds_needed(found.mean, found.sd, ALPHA / claims_asked)
        needed = None if needed is None else max(needed, found.n + 1)
        sentence = _unknown(claim, found, p, needed)
    if len(pairs) > 1:
        sentence += f" (Mean of {len(pairs)} pairs.)"
    return Verdict(claim.name, verdict, sentence, names, found, p, low, high, needed)


def points(share: float) -> str:
    """A share as percentage points, without a sign.

    >>> points(-0.0123)
    '1.2'
    """
    return f"{100 * abs(share):.1f}"


def span(low: float, high: float) -> str:
    """An interval of shares, in signed points.

    >>> span(-0.02, 0.005)
    '−2.0 to +0.5'
    """
    return f"{signed(low)} to {signed(high)}"


def signed(share: float) -> str:
    """A share as signed points, and nothing as plain 0.

    >>> signed(0.012), signed(-0.0001)
    ('+1.2', '0.0')
    """
    text = f"{100 * share:+.1f}".replace("-", "−")
    return "0.0" if text[1:] == "0.0" else text


def p_text(p: float) -> str:
    """``p = 0.03``, or ``p < 0.001``."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.01 else f"p = {p:.2f}"


def _compared(claim: Claim, found: Estimate) -> str:
    """``max pooling gave 1.2 points more error than mean pooling``."""
    if found.mean == 0:
        return f"{claim.better} and {claim.worse} err alike"
    word = "less" if found.mean < 0 else "more"
    where = "" if claim.sizes == AT_NATIVE else " at other sizes"
    return f"{claim.better} gave {points(found.mean)} points {word} error{where} than {claim.worse}"


def _known(claim: Claim, found: Estimate, p: float, images: tuple[float, float] | None) -> str:
    verdict = "Supported" if found.mean < 0 else "Contradicted"
    assert found.low is not None
    assert found.high is not None
    text = f"{verdict}: {_compared(claim, found)} ({span(found.low, found.high)}, {p_text(p)})."
    if images is not None and images[0] < 0 < images[1]:
        text += (
            " Training again would show it again, but on other images it may be otherwise: "
            f"over the test images the interval is {span(*images)}."
        )
    return text


def _unknown(claim: Claim, found: Estimate, p: float | None, needed: int | None) -> str:
    seeds = f"{found.n} seed{'s' if found.n > 1 else ''}"
    text = f"Cannot be told from {seeds}: {_compared(claim, found)}"
    if found.n < LEAST_SEEDS:
        tail = f"; an interval takes at least {LEAST_SEEDS} seeds"
        return f"{text}{tail}{_more(needed)}."
    if found.mean == 0 and found.sd == 0:
        return f"{text}, answer for answer: on these images they are the same."
    assert found.low is not None
    assert found.high is not None
    shown = f"({span(found.low, found.high)}{', ' + p_text(p) if p is not None else ''})"
    if found.mean == 0:
        return f"{text} {shown}."
    if needed is None:
        return f"{text} {shown}. A difference so small would take more than {MOST_SEEDS} seeds."
    guess = f"It would take about {needed} seeds, if the difference is what it looks like here"
    return f"{text} {shown}. {guess}."


def _more(needed: int | None) -> str:
    return "" if needed is None else f" (about {needed}, going by these two)"
