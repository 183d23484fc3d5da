"""How methods are spelled, and what is said when they are not."""

from __future__ import annotations

import pytest

from poolwise.compare import CompareError, parse_pools
from poolwise.compare.methods import DEFAULT_POOLS, SPELLING, Body, Head, Method


@pytest.mark.parametrize(
    ("text", "method"),
    [
        ("max:2/2", Method()),
        ("max:3/2", Method(Body("max", 3, 2))),
        ("avg:5/3", Method(Body("avg", 5, 3))),
        ("lp2:2/2", Method(Body("lp", 2, 2, 2.0))),
        ("lp2.5:3/2", Method(Body("lp", 3, 2, 2.5))),
        ("gap", Method(head=Head((1,), "mean"))),
        ("gmp", Method(head=Head((1,)))),
        ("spp:4", Method(head=Head((4,)))),
        ("spp:1-3-5", Method(head=Head((1, 3, 5)))),
        ("crop", Method(fit="crop")),
        ("multi", Method(multi=True)),
        (
            " AVG:3/2 + gap + Warp + multi ",
            Method(Body("avg", 3, 2), Head((1,), "mean"), "warp", True),
        ),
    ],
)
def test_spelling(text: str, method: Method) -> None:
    assert parse_pools(text) == (method,)
    assert parse_pools(str(method)) == (method,)
    assert parse_pools(method.short) == (method,)


def test_order_of_parts_does_not_matter() -> None:
    assert parse_pools("multi+gap+max:3/2") == parse_pools("max:3/2+gap+multi")


def test_the_default_list_changes_one_part_at_a_time() -> None:
    methods = parse_pools(DEFAULT_POOLS)
    assert methods[0] == Method()
    for method in methods[1:]:
        parts = [
            method.body != methods[0].body,
            method.head != methods[0].head,
            method.fit != methods[0].fit,
            method.multi != methods[0].multi,
        ]
        assert sum(parts) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max:2/2,median:3/2", "'median:3/2' is no pooling"),
        ("max:2/2+gxp", "'gxp' in 'max:2/2+gxp' is no pooling"),
        ("", "'' is no pooling"),
        ("max:2/2,", "'' is no pooling"),
        ("max:2", "'max:2' is no pooling"),
        ("max:2/3", "1 <= stride <= window <= 16 is wanted, not 'max:2/3'"),
        ("max:0/0", "not 'max:0/0'"),
        ("max:99999999999/1", "not 'max:99999999999/1'"),
        ("max:²/2", "'max:²/2' is no pooling"),
        ("lp:2/2", "'lp:2/2' is no pooling"),
        ("lp0:2/2", "the p of lp is from 1 to 64"),
        ("spp:", "'spp:' is no pooling"),
        ("spp:0", "1 to 16 bins a side"),
        ("spp:4-4", "a grid twice"),
        ("gap+gmp", "two parts of one kind (head): 'gmp'"),
        ("crop+warp", "two parts of one kind (input)"),
        ("max:2/2,spp:1-2-4", "'spp:1-2-4' is max:2/2+spp:1-2-4, which is in the list already"),
    ],
)
def test_what_is_not_understood_is_named_and_the_spelling_shown(text: str, message: str) -> None:
    with pytest.raises(CompareError) as caught:
        parse_pools(text)
    assert message in str(caught.value)
    assert SPELLING in str(caught.value)
