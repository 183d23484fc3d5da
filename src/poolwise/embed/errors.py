"""What can go wrong, sorted by who has to act.

The command turns these into exit statuses, so the classes follow the statuses rather than the
modules: the command was wrong (2), the disk was (3), one image was (1, the others go on).
"""

from __future__ import annotations


class EmbedError(ValueError):
    """The call cannot be carried out as it was written; nothing has been changed."""


class MissingExtraError(ImportError):
    """A library that only one of poolwise's extras installs is not there."""

    def __init__(self, what: str, library: str, extra: str) -> None:
        super().__init__(f'{what} needs {library}: pip install "poolwise[{extra}]"')


class OutputError(OSError):
    """The output could not be written (full disk, quota, …); what was finished is kept."""


class ImageError(Exception):
    """One image has no vector; the text is the reason that the failures list shows."""


class EmbedInterrupt(KeyboardInterrupt):
    """The run was stopped by a signal; what was finished is kept and the same call resumes.

    Attributes
    ----------
    signal : int
        Number of the signal (2 for Ctrl-C).
    finished, images : int
        Images that have a row, and images there are.
    """

    def __init__(self, signal: int, finished: int, images: int) -> None:
        super().__init__(f"stopped with {finished} of {images} images finished")
        self.signal = signal
        self.finished = finished
        self.images = images
