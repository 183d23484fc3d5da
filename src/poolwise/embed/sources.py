"""Files, folders and globs → one ordered list of images, each taken once.

The order of the list is the order of the rows, on every machine and after every resume, so names
are compared as bytes (no locale) and folders are walked depth first. Every file of a folder that
is not hidden is an image until decoding says otherwise: a suffix proves nothing, and a file that
was silently passed over is worse than one that is listed as "not an image".
"""

from __future__ import annotations

import fnmatch
import glob
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path

from poolwise.embed.errors import EmbedError

# Never taken from a folder or a glob: what this program writes, and what file managers leave.
WRITTEN_HERE = (".parquet", ".npz", ".parquet.failures.csv", ".npz.failures.csv")
WRITTEN_FOLDERS = (".parquet.parts", ".npz.parts")
LEFT_BEHIND = frozenset({"Thumbs.db", "desktop.ini"})

STAMP_BYTES = 16


def printable(path: str) -> str:
    r"""The path as valid Unicode: bytes that are not UTF-8 are written ``\xe9``.

    Parquet and CSV hold UTF-8 only, file systems hold bytes.
    """
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One image to be embedded.

    ``scale`` shrinks it after decoding (only the sample uses it); ``problem`` is set when there
    is nothing to decode.
    """

    path: str
    name: str
    size: int = 0
    mtime_ns: int = 0
    scale: float = 1.0
    problem: str | None = None

    def stamp(self) -> bytes:
        """Identity of a row: changes when the file is moved, resized, touched or renamed."""
        text = f"{os.path.abspath(self.path)}\0{self.name}\0{self.size}\0{self.mtime_ns}"
        data = f"{text}\0{self.scale}".encode("utf-8", "surrogateescape")
        return blake2b(data, digest_size=STAMP_BYTES).digest()


def image_file(path: str, *, name: str | None = None, scale: float = 1.0) -> ImageFile:
    """Look at ``path`` once; opening a pipe or a device could block for ever, so it is refused."""
    name = printable(path) if name is None else name
    try:
        status = os.stat(path)
    except OSError as error:
        return ImageFile(path, name, problem=error.strerror or "cannot be read")
    if not stat.S_ISREG(status.st_mode):
        return ImageFile(path, name, problem="not a regular file")
    return ImageFile(path, name, status.st_size, status.st_mtime_ns, scale)


@dataclass
class _Collector:
    output: Path | None
    ignore: Sequence[str]
    images: list[ImageFile] = field(default_factory=list)
    seen_files: set[tuple[str, str]] = field(default_factory=set)
    seen_folders: set[tuple[int, int]] = field(default_factory=set)
    real_folders: dict[str, str] = field(default_factory=dict)
    own: frozenset[tuple[str, str]] = frozenset()

    def __post_init__(self) -> None:
        if self.output is not None:
            names = ("", ".parts", ".failures.csv")
            self.own = frozenset(self.key(f"{self.output}{name}") for name in names)

    def key(self, path: str) -> tuple[str, str]:
        """Same key, same entry of the same folder, however the folder was reached."""
        folder, name = os.path.split(path)
        if folder not in self.real_folders:
            self.real_folders[folder] = os.path.realpath(folder or ".")
        return self.real_folders[folder], name

    def is_own(self, path: str) -> bool:
        """Whether this is the output or lies beside it for the same run.

        The name first: resolving every folder's links costs a system call per level of depth.
        """
        name = os.path.basename(path)
        return any(name == own for _, own in self.own) and self.key(path) in self.own

    def add_file(self, path: str) -> None:
        key = self.key(path)
        if key not in self.seen_files and key not in self.own:
            self.seen_files.add(key)
            self.images.append(image_file(path))

    def unwanted(self, path: str, *, folder: bool) -> bool:
        name = os.path.basename(path)
        if name.startswith(".") or name in LEFT_BEHIND:
            return True
        if name.endswith(WRITTEN_FOLDERS if folder else WRITTEN_HERE):
            return True
        return any(
            fnmatch.fnmatch(name, pattern) or fnmatch.fnmatch(path, pattern)
            for pattern in self.ignore
        )

    def add_folder(self, root: str) -> None:
        """Walk with a stack (no recursion limit); inode numbers end symbolic-link loops."""
        stack = [(root, True)]
        while stack:
            path, is_folder = stack.pop()
            if not is_folder:
                self.add_file(path)
                continue
            try:
                status = os.stat(path)
                if (status.st_dev, status.st_ino) in self.seen_folders:
                    continue
                self.seen_folders.add((status.st_dev, status.st_ino))
                with os.scandir(path) as scan:
                    entries = sorted(scan, key=lambda entry: os.fsencode(entry.name), reverse=True)
            except OSError as error:
                reason = f"folder cannot be read: {error.strerror}"
                self.images.append(ImageFile(path, printable(path), problem=reason))
                continue
            for entry in entries:
                folder = _is_folder(entry)
                if self.unwanted(entry.path, folder=folder) or self.is_own(entry.path):
                    continue
                stack.append((entry.path, folder))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a symbolic link that points at itself
        return False


def list_images(
    sources: Iterable[str | os.PathLike[str]],
    *,
    output: Path | None = None,
    ignore: Sequence[str] = (),
) -> list[ImageFile]:
    """List the images of ``sources`` in the order of the rows.

    Parameters
    ----------
    sources : iterable of path
        Files, folders (with everything below them) and globs (``**`` too), in this order.
        Symbolic links to folders are followed, each folder is entered once.
    output : Path, optional
        This file and what is written beside it are never read.
    ignore : sequence of str
        Globs of file names or whole paths that folders and globs leave out.

    Raises
    ------
    EmbedError
        If a source does not exist.
    """
    found = _Collector(output, ignore)
    for source in sources:
        path = os.fspath(source)
        if os.path.isdir(path):
            if not found.is_own(os.path.normpath(path)):
                found.add_folder(path)
        elif os.path.lexists(path):
            found.add_file(path)
        elif glob.has_magic(path):
            for match in sorted(glob.glob(path, recursive=True), key=os.fsencode):
                folder = os.path.isdir(match)
                if found.unwanted(match, folder=folder) or found.is_own(match):
                    continue
                if folder:
                    found.add_folder(match)
                else:
                    found.add_file(match)
        else:
            raise EmbedError(f"no such file or folder: {printable(path)}")
    return found.images
