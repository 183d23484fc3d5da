"""poolwise for PyTorch: drop-in pooling, and whole networks faster on a CPU by one line.

>>> import torch, poolwise.torch as pt
>>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.MaxPool2d(2))
>>> faster = pt.accelerate(model)  # the same model; `pt.restore` undoes it
>>> pt.max_pool2d(torch.rand(1, 8, 6, 6), 3, stride=2).shape
torch.Size([1, 8, 2, 2])

Functions have the names, arguments and defaults of `torch.nn.functional`, modules those of
`torch.nn`; docs/torch.md says what else there is.
"""

from typing import TYPE_CHECKING

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError(
        "poolwise.torch needs PyTorch, 2.4 or newer; install it with: pip install poolwise[torch]"
    ) from error

from . import modules as _modules
from .accelerate import accelerate, restore
from .functional import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
    min_pool1d,
    min_pool2d,
    min_pool3d,
    spatial_pyramid_pool2d,
    sum_pool1d,
    sum_pool2d,
    sum_pool3d,
)
from .modules import SpatialPyramidPool2d
from .report import PoolingReport, pooling_report

if TYPE_CHECKING:  # the classes that `modules` generates have these constructors
    from torch.nn import (
        AdaptiveAvgPool1d,
        AdaptiveAvgPool2d,
        AdaptiveAvgPool3d,
        AdaptiveMaxPool1d,
        AdaptiveMaxPool2d,
        AdaptiveMaxPool3d,
        AvgPool1d,
        AvgPool2d,
        AvgPool3d,
        LPPool1d,
        LPPool2d,
        LPPool3d,
        MaxPool1d,
        MaxPool2d,
        MaxPool3d,
        MaxUnpool1d,
        MaxUnpool2d,
        MaxUnpool3d,
    )
    from torch.nn import MaxPool1d as MinPool1d
    from torch.nn import MaxPool1d as SumPool1d
    from torch.nn import MaxPool2d as MinPool2d
    from torch.nn import MaxPool2d as SumPool2d
    from torch.nn import MaxPool3d as MinPool3d
    from torch.nn import MaxPool3d as SumPool3d
else:
    globals().update(_modules.GENERATED)

__all__ = [
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "MaxUnpool1d",
    "MaxUnpool2d",
    "MaxUnpool3d",
    "MinPool1d",
    "MinPool2d",
    "MinPool3d",
    "PoolingReport",
    "SpatialPyramidPool2d",
    "SumPool1d",
    "SumPool2d",
    "SumPool3d",
    "accelerate",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "min_pool1d",
    "min_pool2d",
    "min_pool3d",
    "pooling_report",
    "restore",
    "spatial_pyramid_pool2d",
    "sum_pool1d",
    "sum_pool2d",
    "sum_pool3d",
]
