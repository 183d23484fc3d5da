"""Windows and reducers as short texts, and back: how a custom operator of torch carries them.

An operator's arguments must be tensors, numbers or texts. A text is one argument instead of a dozen
numbers: it is cheap to hand through the dispatcher, reads well in an exported graph, and means the
same in another process. The texts below are the whole grammar.

>>> from poolwise import Windows, reducers
>>> windows_text(Windows.sliding((3, 2), stride=2, padding=1))
'3/2 pad 1:1 x 2/2 pad 1:1'
>>> windows_text(Windows.pyramid((1, 2, 4)))
'pyramid: bins 1; bins 2; bins 4'
>>> reducer_text(reducers.mean_with(False)), reducer_text(reducers.lp(2))
('mean inside', 'lp 2.0')
"""

from __future__ import annotations

import re
from functools import lru_cache

from .. import reducers
from ..reducers import Reducer
from ..windows import Bins, Rule, Sliding, Windows

__all__ = ["reducer_of", "reducer_text", "windows_of", "windows_text"]

_SLIDING = re.compile(
    r"(?P<kernel>\d+)/(?P<stride>\d+)"
    r"(?: pad (?:(?P<before>\d+):(?P<after>\d+)|(?P<named>same_\w+)))?"
    r"(?: dil (?P<dilation>\d+))?(?P<ceil> ceil)?"
)
_BINS = re.compile(r"bins (?P<count>\d+|all)(?P<training> training)?")


def windows_text(windows: Windows) -> str:
    """Spell windows: axes joined by ``x``, the levels of a pyramid by ``;``.

    Examples
    --------
    >>> windows_text(Windows.adaptive((7, None)))
    'bins 7 x bins all'
    """
    levels = []
    for level in windows.levels:
        # A level of one rule for every axis has no x; one rule for one axis has a lone one.
        rules = level if isinstance(level, tuple) else (level,)
        text = " x ".join(map(_rule_text, rules))
        levels.append(f"{text} x" if isinstance(level, tuple) and len(rules) == 1 else text)
    return ("pyramid: " if windows.flat else "") + "; ".join(levels)


def _rule_text(rule: Rule) -> str:
    if isinstance(rule, Bins):
        count = "all" if rule.count is None else str(rule.count)
        return f"bins {count}" + (" training" if rule.training else "")
    text = f"{rule.kernel}/{rule.stride}"
    if isinstance(rule.padding, str):
        text += f" pad {rule.padding}"
    elif rule.padding != (0, 0):
        text += f" pad {rule.padding[0]}:{rule.padding[1]}"
    if rule.dilation != 1:
        text += f" dil {rule.dilation}"
    return text + (" ceil" if rule.ceil_mode else "")


@lru_cache(maxsize=1024)
def windows_of(text: str) -> Windows:
    """Read what `windows_text` wrote; ValueError for anything else.

    Examples
    --------
    >>> windows_of("3/2 pad 1:1 x 2/2 pad 1:1") == Windows.sliding((3, 2), 2, 1)
    True
    """
    body = text.removeprefix("pyramid: ")
    levels: list[Rule | tuple[Rule, ...]] = []
    for level in body.split("; "):
        if level.endswith(" x"):
            levels.append((_rule_of(level.removesuffix(" x"), text),))
        else:
            rules = tuple(_rule_of(part, text) for part in level.split(" x "))
            levels.append(rules if len(rules) > 1 else rules[0])
    return Windows(tuple(levels), flat=body != text)


def _rule_of(part: str, text: str) -> Rule:
    found = _BINS.fullmatch(part)
    if found:
        count = found["count"]
        return Bins(None if count == "all" else int(count), found["training"] is not None)
    found = _SLIDING.fullmatch(part)
    if not found:
        raise ValueError(f"windows {text!r} cannot be read; spell them with windows_text")
    padding = found["named"] or (int(found["before"] or 0), int(found["after"] or 0))
    if padding not in ("same_upper", "same_lower") and isinstance(padding, str):
        raise ValueError(f"windows {text!r} names no padding; spell them with windows_text")
    numbers = int(found["kernel"]), int(found["stride"])
    if min(numbers) < 1 or int(found["dilation"] or 1) < 1:
        raise ValueError(f"windows {text!r} have a kernel, stride or dilation of 0")
    return Sliding(*numbers, padding, int(found["dilation"] or 1), found["ceil"] is not None)  # type: ignore[arg-type]


def reducer_text(reducer: Reducer) -> str:
    """Spell a reducer.

    Examples
    --------
    >>> reducer_text(reducers.mean_with(True, 5))
    'mean over 5'
    """
    if reducer.name == "lp":
        return f"lp {reducer.p!r}"
    if reducer.divisor_override is not None:
        return f"mean over {reducer.divisor_override}"
    if reducer.name == "mean" and not reducer.count_include_pad:
        return "mean inside"
    return reducer.name


@lru_cache(maxsize=256)
def reducer_of(text: str) -> Reducer:
    """Read what `reducer_text` wrote; ValueError for anything else.

    Examples
    --------
    >>> reducer_of("lp 2.0") == reducers.lp(2)
    True
    """
    name, _, rest = text.partition(" ")
    try:
        if name == "lp":
            return reducers.lp(float(rest))
        if text == "mean inside":
            return reducers.mean_with(False)
        if text.startswith("mean over "):
            return reducers.mean_with(True, int(rest.removeprefix("over ")))
    except ValueError:
        pass
    if rest:
        raise ValueError(f"reducer {text!r} cannot be read; spell it with reducer_text")
    return reducers.as_reducer(text)
