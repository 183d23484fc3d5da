"""Which pooling suits these images: :func:`compare` (the command's Python face)."""

from poolwise.compare.errors import CompareError, CompareInterrupt
from poolwise.embed import MissingExtraError

# What an import of this package fails for, and the name under which it is installed.
_LIBRARIES = {"torch": "PyTorch", "scipy": "SciPy", "matplotlib": "matplotlib", "jinja2": "Jinja2"}

try:
    from poolwise.compare.dataset import Dataset
    from poolwise.compare.experiment import Outcome, compare
    from poolwise.compare.export import load_model
    from poolwise.compare.methods import Method, parse_pools
    from poolwise.compare.progress import Progress
    from poolwise.compare.summary import Comparison
except ImportError as error:
    cause = error.__cause__ or error  # poolwise.torch says it in its own words
    library = _LIBRARIES.get((getattr(cause, "name", None) or "").partition(".")[0])
    if library is None:
        raise
    raise MissingExtraError("poolwise compare", library, "compare") from None

__all__ = [
    "CompareError",
    "CompareInterrupt",
    "Comparison",
    "Dataset",
    "Method",
    "MissingExtraError",
    "Outcome",
    "Progress",
    "compare",
    "load_model",
    "parse_pools",
]
