"""poolwise: every pooling method for convolutional networks, exact, at the speed of memory.

A pooling is windows × a reducer: ``pool(x, windows, reducer)`` is the operation, and everything
with a name is a line or two on top.
"""

from . import reducers
from ._config import get_num_threads, set_num_threads, show_config
from .adaptive import adaptive_avg_pool, adaptive_max_pool, global_avg_pool, global_max_pool
from .extremes import max_pool, min_pool
from .pooling import max_unpool, pool, pool_vjp
from .pyramid import spatial_pyramid_pool
from .reducers import Reducer
from .sliding import avg_pool, lp_pool, sum_pool
from .windows import Plan, Windows

__all__ = [
    "Plan",
    "Reducer",
    "Windows",
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "avg_pool",
    "get_num_threads",
    "global_avg_pool",
    "global_max_pool",
    "lp_pool",
    "max_pool",
    "max_unpool",
    "min_pool",
    "pool",
    "pool_vjp",
    "reducers",
    "set_num_threads",
    "show_config",
    "spatial_pyramid_pool",
    "sum_pool",
]
