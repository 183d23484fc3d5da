"""Past the dispatcher: whether a tensor is so plain that torch would only call our kernel.

The dispatcher costs more than pooling a small tensor. For a plain CPU tensor, with no mode, no
transform, no tracing and no profiler at work, that is all it would do, so it is done without.
Whatever is not known to be plain takes the usual way; so does every torch without these functions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd import forward_ad


def _plain_keys() -> frozenset[int]:
    """The dispatch keys of plain CPU tensors; none where torch does not tell."""
    try:
        keys = {torch._C._dispatch_keys(torch.zeros(1)).raw_repr()}
        with torch.inference_mode():
            keys.add(torch._C._dispatch_keys(torch.zeros(1)).raw_repr())
        for look in ("_are_functorch_transforms_active", "_len_torch_dispatch_stack"):
            getattr(torch._C, look)()
        torch._C._get_tracing_state()
        torch._C._autograd._profiler_enabled()
    except (AttributeError, RuntimeError):  # pragma: no cover - a torch without them
        return frozenset()
    return frozenset(keys)


_PLAIN = _plain_keys()
if _PLAIN:
    _keys_of = torch._C._dispatch_keys
    _transforms = torch._C._are_functorch_transforms_active
    _modes = torch._C._len_torch_dispatch_stack
    _tracing = torch._C._get_tracing_state
    _profiling = torch._C._autograd._profiler_enabled


def plain(x: Tensor) -> bool:
    """Whether, but for gradients, the dispatcher would only call the CPU kernel for this tensor."""
    return bool(
        _PLAIN
        and _keys_of(x).raw_repr() in _PLAIN
        and not _modes()
        and not _transforms()
        and not _profiling()
        and _tracing() is None
        and forward_ad._current_level < 0
    )
