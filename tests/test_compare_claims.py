"""Verdicts on planted answers: found where they are, not where they are not."""

from __future__ import annotations

import numpy as np
import pytest

from poolwise.compare import parse_pools
from poolwise.compare.claims import CLAIMS, Verdict, judge
from poolwise.compare.methods import DEFAULT_POOLS

IMAGES = 400
METHODS = parse_pools(DEFAULT_POOLS)
OVERLAP = "Overlapping max pooling lowers the error"


def answers(rates: dict[str, float], seeds: int, methods=METHODS, seed: int = 0):
    """Wrong answers by lot, at a rate of 0.3 or the one given for a method."""
    generator = np.random.default_rng(seed)
    return [
        {
            size: (generator.random((seeds, IMAGES)) < rates.get(method.short, 0.3)).astype(float)
            for size in ("small", "native", "large")
        }
        for method in methods
    ]


def verdicts(rates: dict[str, float], seeds: int = 5, seed: int = 0) -> dict[str, Verdict]:
    return {v.claim: v for v in judge(METHODS, answers(rates, seeds, seed=seed))}


def test_planted_effects_are_found_in_both_directions() -> None:
    rates = {"max:3/2": 0.15, "spp:4": 0.5, "gap": 0.1, "crop": 0.6, "multi": 0.1, "max:2/2": 0.3}
    found = {name: v.verdict for name, v in verdicts(rates).items()}
    assert found[OVERLAP] == "supported"
    assert found["Images of any size beat cropping"] == "supported"
    assert found["A pyramid of several grids beats its finest grid alone"] == "supported"
    assert found["A pyramid beats global average pooling"] == "contradicted"
    assert (
        found["Training at several sizes helps at sizes other than the images' own"] == "supported"
    )
    assert found["Images of any size beat warping"] == "unknown"


def test_null_effects_are_seldom_found() -> None:
    """Eight claims, corrected together: at least one is found in about 5 % of comparisons."""
    wrong = sum(
        any(v.verdict in ("supported", "contradicted") for v in verdicts({}, 4, seed).values())
        for seed in range(100)
    )
    assert wrong <= 12


def test_sentences_say_what_is_known() -> None:
    found = verdicts({"max:3/2": 0.15})
    sure = found[OVERLAP]
    assert sure.sentence.startswith("Supported: overlapping max windows gave ")
    assert "points less error than windows side by side" in sure.sentence
    assert "p " in sure.sentence
    unknown = found["Images of any size beat warping"]
    assert unknown.sentence.startswith("Cannot be told from 5 seeds: ")
    assert unknown.seeds_needed is None or unknown.seeds_needed > 5
    assert "It would take" in unknown.sentence or "more than 1000 seeds" in unknown.sentence


@pytest.mark.parametrize(("seeds", "said"), [(1, "1 seed:"), (2, "2 seeds:")])
def test_few_seeds_say_nothing_and_say_so(seeds: int, said: str) -> None:
    for v in verdicts({"max:3/2": 0.05}, seeds).values():
        assert v.verdict == "unknown"
        assert f"Cannot be told from {said}" in v.sentence
        assert "at least 3 seeds" in v.sentence
        assert v.p_corrected is None


def test_the_same_answers_are_no_difference() -> None:
    methods = parse_pools("max:2/2,crop")
    wrong = answers({}, 4, methods)
    (v,) = [v for v in judge(methods, [wrong[0], wrong[0]]) if v.verdict != "not asked"]
    assert v.verdict == "unknown"
    assert "answer for answer" in v.sentence


def test_a_claim_that_the_list_does_not_ask_says_how() -> None:
    methods = parse_pools("max:2/2,gap")
    found = {v.claim: v for v in judge(methods, answers({}, 3, methods))}
    assert found[OVERLAP].verdict == "not asked"
    assert found[OVERLAP].sentence == "Not asked: it takes max:3/2 and max:2/2 in --pools."
    assert sum(v.verdict == "not asked" for v in found.values()) == len(CLAIMS) - 1


def test_pairs_differ_in_the_one_part() -> None:
    methods = parse_pools("max:2/2+gap,max:3/2+gap,max:3/2,avg:2/2,max:2/2+gap+multi")
    found = {v.claim: v for v in judge(methods, answers({}, 3, methods))}
    assert found[OVERLAP].pairs == (("max:3/2+gap", "max:2/2+gap"),)
    assert found["A pyramid beats global average pooling"].pairs == (
        ("max:3/2+spp:1-2-4", "max:3/2+gap"),
    )
    assert found["Max pooling errs less than mean pooling"].verdict == "not asked"


def test_what_seeds_support_but_images_do_not_is_said() -> None:
    """Every seed errs on one image less: sure to come again, and yet it is one image."""
    methods = parse_pools("max:2/2,max:3/2")
    base = np.zeros((8, 100))
    base[:, :5] = 1
    base[::2, 50] = 1
    better = base.copy()
    better[:, 0] = 0
    better[:3, 1] = 0
    wrong = [dict.fromkeys(("small", "native", "large"), w) for w in (base, better)]
    (v,) = [v for v in judge(methods, wrong) if v.verdict != "not asked"]
    assert v.verdict == "supported"
    assert "on other images it may be otherwise" in v.sentence
    assert v.images_low is not None
    assert v.images_high is not None
    assert v.images_low < 0 < v.images_high
