"""Windows: which input cells each output cell sees, as a value that knows no data and no reducer.

Every pooling of the survey differs only in its windows or in its reducer, so the windows are one
frozen, hashable value. `Windows.over(shape)` lays it over an input and caches the result: shapes,
tables, coverage, pictures and the native core all read that one `Plan`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from ._axis import AxisPlan, Bins, Rule, Sliding, training_bins
from ._checks import (
    as_bool,
    as_int,
    as_ints,
    as_list,
    common_length,
    is_sequence,
    show,
)
from ._plan import Grid, Plan

__all__ = ["AxisPlan", "Bins", "Grid", "Plan", "Rule", "Sliding", "Windows", "training_bins"]

Ints = int | Sequence[int]
Padding = int | Sequence[int] | Sequence[tuple[int, int]] | str
BinRule = Literal["adaptive", "training"]

_NAMED_PADDING = {"same": "same_upper", "same_upper": "same_upper", "same_lower": "same_lower"}


@dataclass(frozen=True)
class Windows:
    """Which cells each output cell sees; build one with the constructors below.

    Attributes
    ----------
    levels : tuple
        One entry per output map: a tuple of rules, one per axis, or one rule for all axes.
    flat : bool
        Whether the maps are joined into one axis of bins (pyramids).

    Examples
    --------
    >>> Windows.sliding(3, stride=2) == Windows.sliding(3, stride=2)
    True
    >>> Windows.pyramid((1, 2, 4)).over((10, 13)).output_shape
    (21,)
    """

    levels: tuple[Rule | tuple[Rule, ...], ...]
    flat: bool = False

    def __post_init__(self) -> None:
        level: object
        for level in self.levels if isinstance(self.levels, tuple) else (self.levels,):
            rules = level if isinstance(level, tuple) and level else (level,)
            if not all(isinstance(rule, Sliding | Bins) for rule in rules):
                raise TypeError(
                    f"levels must be rules or tuples of rules, got {show(level)}; use "
                    "Windows.sliding, .adaptive, .whole or .pyramid"
                )
        if not self.levels:
            raise ValueError("levels is empty; give at least one")
        self.__dict__["_hash"] = hash((self.levels, self.flat))

    def __hash__(self) -> int:
        return self.__dict__["_hash"]  # type: ignore[no-any-return]

    def __reduce__(self) -> tuple[type[Windows], tuple[object, ...]]:
        # The cached hash holds strings' hashes, which differ from process to process.
        return Windows, (self.levels, self.flat)

    @property
    def ndim(self) -> int | None:
        """How many axes the windows ask for, or None when any number will do."""
        return next((len(level) for level in self.levels if isinstance(level, tuple)), None)

    @staticmethod
    def sliding(
        kernel_size: Ints,
        stride: Ints | None = None,
        padding: Padding = 0,
        dilation: Ints = 1,
        ceil_mode: bool = False,
    ) -> Windows:
        """Windows of one size at regular steps, as in PyTorch.

        Parameters
        ----------
        kernel_size, stride, dilation : int or sequence of int
            Cells per window, between window starts, and between cells of a window; one number, or
            one per axis. `stride` defaults to `kernel_size`.
        padding : int, sequence, or {"same", "same_upper", "same_lower", "valid"}
            Cells added on both sides: a number, one per axis, or one (before, after) pair per axis.
            The names are ONNX's and TensorFlow's.
        ceil_mode : bool
            Round the number of windows up, dropping a last one that starts beyond the input.

        Raises
        ------
        TypeError, ValueError
            For numbers that are not integers, or out of range, or of different lengths.

        Notes
        -----
        With span ``e = dilation * (kernel_size - 1) + 1`` an axis of size a has
        ``floor((a + before + after - e) / stride) + 1`` windows.

        Examples
        --------
        >>> plan = Windows.sliding(3, stride=2, padding=1).over((7, 7))
        >>> plan.output_shape, plan.starts[0], plan.stops[0]
        ((4, 4), array([0, 1, 3, 5]), array([2, 4, 6, 7]))
        """
        given = (kernel_size, stride, padding, dilation, ceil_mode)
        if all(map(_exact, given)):
            return _sliding_cached(*given)
        return _sliding(*given)

    @staticmethod
    def adaptive(output_size: int | Sequence[int | None]) -> Windows:
        """Exactly `output_size` windows per axis, whatever the input's size.

        Parameters
        ----------
        output_size : int or sequence of (int or None)
            Windows per axis; None keeps the axis as it is.

        Notes
        -----
        Bin i of n over a cells is ``[floor(i*a/n), ceil((i+1)*a/n))``: PyTorch's rule and SPP-net's
        Appendix A (He et al. 2014). Every cell is read, for n larger than a too.

        Examples
        --------
        >>> Windows.adaptive(4).over(14).starts[0]
        array([ 0,  3,  7, 10])
        """
        if is_sequence(output_size):
            entries = as_list(output_size, "output_size")
            sizes = (
                None if n is None else as_int(n, f"output_size[{i}]", 1)
                for i, n in enumerate(entries)
            )
            return Windows((tuple(Bins(n) for n in sizes),))
        return Windows((Bins(as_int(output_size, "output_size", 1)),))

    @staticmethod
    def whole() -> Windows:
        """One window over everything: global pooling.

        Examples
        --------
        >>> Windows.whole().over((5, 7)).output_shape
        (1, 1)
        """
        return _WHOLE

    @staticmethod
    def pyramid(levels: Sequence[int | Sequence[int]], bins: BinRule = "adaptive") -> Windows:
        """Several grids over the same input, their bins listed one after another.

        Parameters
        ----------
        levels : sequence of int or of sequences of int
            Grids in output order: n for n bins along every axis, or one number per axis.
        bins : {"adaptive", "training"}
            SPP-net's Appendix A rule, right for every size, or the formula it trained with
            (size ceil(a/n), stride floor(a/n)), which `over` refuses where it is wrong.

        Notes
        -----
        Spatial pyramid pooling of He et al., "Spatial Pyramid Pooling in Deep Convolutional
        Networks for Visual Recognition", 2014.

        Examples
        --------
        >>> Windows.pyramid((1, 2, 4)).over((14, 14)).output_shape
        (21,)
        """
        if bins in ("adaptive", "training") and _exact(levels):
            return _pyramid_cached(levels, bins)
        return _pyramid(levels, bins)

    def over(self, shape: Ints) -> Plan:
        """Lay the windows over an input whose pooled axes have these sizes.

        Parameters
        ----------
        shape : int or sequence of int
            Sizes of the pooled axes, at least 1 each.

        Returns
        -------
        Plan
            Cached; costs nothing that grows with the sizes until its arrays are asked for.

        Raises
        ------
        ValueError
            When an axis is empty, the number of axes is not the windows', or a window is wider
            than the padded axis.

        Examples
        --------
        >>> Windows.sliding((3, 2)).over((6, 6)).output_shape
        (2, 3)
        """
        sizes = as_ints(shape, "shape")
        return _over(self, sizes if isinstance(sizes, tuple) else (sizes,))

    def reordered(self, order: Sequence[int]) -> Windows:
        """Return the windows with the rule of axis ``order[k]`` at axis k."""
        if sorted(order) != list(range(len(order))) or self.ndim not in (None, len(order)):
            raise ValueError(f"order must name every axis once, got {show(order)}")
        levels = (
            tuple(level[k] for k in order) if isinstance(level, tuple) else level
            for level in self.levels
        )
        return Windows(tuple(levels), self.flat)


_WHOLE = Windows((Bins(1),))


@lru_cache(maxsize=1024)
def _over(windows: Windows, shape: tuple[int, ...]) -> Plan:
    if windows.ndim not in (None, len(shape)):
        raise ValueError(
            f"the windows are for {windows.ndim} axes, but {len(shape)} are pooled (shape "
            f"{shape}); give one number per pooled axis, or name the axes with axes="
        )
    for k, size in enumerate(shape):
        if size == 0:
            raise ValueError(
                f"pooled axis {k} of shape {shape} has size 0; there is nothing to pool: "
                "leave empty inputs out, or pool other axes"
            )
    grids = []
    for level in windows.levels:
        rules = level if isinstance(level, tuple) else (level,) * len(shape)
        grids.append(Grid(tuple(rule.over(n) for rule, n in zip(rules, shape, strict=True))))
    return Plan(shape, tuple(grids), windows.flat)


def _exact(value: object) -> bool:
    """Whether a cache may look `value` up: 1, 1.0 and True are equal but not alike to us.

    A typed cache tells them apart as arguments, but not within a tuple.
    """
    kind = type(value)
    if kind is tuple:
        return all(_exact(v) and type(v) is not bool for v in value)  # type: ignore[attr-defined]
    return kind is int or value is None or kind is str or kind is bool


def _padding(padding: object) -> str | tuple[int, int] | tuple[tuple[int, int], ...]:
    if isinstance(padding, str):
        if padding == "valid":
            return (0, 0)
        if padding not in _NAMED_PADDING:
            raise ValueError(
                f'padding must be "same", "same_upper", "same_lower", "valid" or numbers, '
                f"got {show(padding)}"
            )
        return _NAMED_PADDING[padding]
    if not is_sequence(padding):
        both = as_int(padding, "padding")
        return (both, both)
    pairs = []
    for i, entry in enumerate(as_list(padding, "padding")):
        pair = as_ints(entry, f"padding[{i}]")
        if isinstance(pair, int):
            pair = (pair, pair)
        if len(pair) != 2:
            raise ValueError(f"padding[{i}] must be a pair (before, after), got {show(entry)}")
        pairs.append((pair[0], pair[1]))
    return tuple(pairs)


def _sliding(
    kernel_size: object, stride: object, padding: object, dilation: object, ceil_mode: object
) -> Windows:
    kernels = as_ints(kernel_size, "kernel_size", 1)
    strides = kernels if stride is None else as_ints(stride, "stride", 1)
    pads = _padding(padding)
    dilations = as_ints(dilation, "dilation", 1)
    ceil = as_bool(ceil_mode, "ceil_mode")
    per_axis_pads = pads if isinstance(pads[0], tuple) else None
    ndim = common_length(
        kernel_size=kernels,
        stride=None if stride is None else strides,
        padding=per_axis_pads,
        dilation=dilations,
    )

    def rule(k: int) -> Sliding:
        def pick(value: object) -> object:
            return value[k] if isinstance(value, tuple) else value

        pad = pads if per_axis_pads is None else per_axis_pads[k]
        return Sliding(pick(kernels), pick(strides), pad, pick(dilations), ceil)  # type: ignore[arg-type]

    return Windows((rule(0),) if ndim is None else (tuple(rule(k) for k in range(ndim)),))


_sliding_cached = lru_cache(maxsize=1024, typed=True)(_sliding)


def _pyramid(levels: object, bins: object) -> Windows:
    if bins not in ("adaptive", "training"):
        raise ValueError(f'bins must be "adaptive" or "training", got {show(bins)}')
    if not is_sequence(levels):
        raise TypeError(f"levels must be a sequence such as (1, 2, 4), got {show(levels)}")
    entries = as_list(levels, "levels")
    sizes = [as_ints(level, f"levels[{i}]", 1) for i, level in enumerate(entries)]
    ndim = common_length(**{f"levels[{i}]": size for i, size in enumerate(sizes)})
    training = bins == "training"
    grids: list[Rule | tuple[Rule, ...]] = []
    for size in sizes:
        if isinstance(size, tuple):
            grids.append(tuple(Bins(n, training) for n in size))
        else:
            rule = Bins(size, training)
            grids.append(rule if ndim is None else (rule,) * ndim)
    return Windows(tuple(grids), flat=True)


_pyramid_cached = lru_cache(maxsize=1024, typed=True)(_pyramid)
