"""Images of any size to vectors of one length: :func:`embed` (the command's Python face)."""

from poolwise.embed.errors import (
    EmbedError,
    EmbedInterrupt,
    ImageError,
    MissingExtraError,
    OutputError,
)

try:
    from poolwise.embed.report import Failure, Progress, Report
    from poolwise.embed.run import embed
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "PIL":
        raise
    raise MissingExtraError("poolwise.embed", "Pillow", "demo") from None

__all__ = [
    "EmbedError",
    "EmbedInterrupt",
    "Failure",
    "ImageError",
    "MissingExtraError",
    "OutputError",
    "Progress",
    "Report",
    "embed",
]
