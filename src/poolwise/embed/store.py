"""Finished rows on disk: written in parts, found again after any end, merged into the output.

Beside ``OUT`` a folder ``OUT.parts`` holds the work of an unfinished run: the recipe, and parts
that are each a whole file of the output's own format (the folder reads as a Parquet dataset: other
names in it start with ``_`` or ``.``). Every file is written under a temporary
name, flushed to the disk and renamed, so at any instant of any crash each file is either whole or
absent. The output is made of the parts in the order of the images, renamed into place, and the
folder is removed. An output that exists is therefore always whole, and says in its metadata
whether it is complete (only Ctrl-C leaves one that is not).

Rows are found again by stamp (file, size, time of change), in the parts and in an older output of
the same recipe; so resuming, adding images to a folder and changing some are one and the same.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

from poolwise.embed.errors import EmbedError, OutputError
from poolwise.embed.formats import Format, Head, Reader, format_for
from poolwise.embed.options import as_text, differences
from poolwise.embed.rows import Rows, concatenate, regroup, rows_per_block

# A part is written at least this often, so a crash costs seconds of work even with a slow model.
PART_SECONDS = 10.0
_OPEN_FILES = 4


class Place(NamedTuple):
    """Where a finished row lies."""

    file: Path
    row: int


class Store:
    """The output and its parts; the only code that writes.

    Use :meth:`inspect` first: it touches nothing. :meth:`begin` makes the folder and locks it.
    """

    def __init__(self, output: Path, recipe: dict[str, Any], made_by: dict[str, Any]) -> None:
        self._format: Format = format_for(output)
        self.output = output
        self.folder = output.with_name(f"{output.name}.parts")
        self.failures_file = output.with_name(f"{output.name}.failures.csv")
        self._recipe = as_text(recipe)
        self._metadata = {**made_by, "recipe": recipe}
        self._places: dict[bytes, Place] = {}
        self._pending: list[Rows] = []
        self._pending_rows = 0
        self._next_part = 0
        self._last_write = time.monotonic()
        self._stale = False
        self._lock: IO[bytes] | None = None
        self.length: int | None = None
        self.previous: Head | None = None

    # -- what is there already ------------------------------------------------------------------

    def inspect(self, *, overwrite: bool) -> None:
        """Find finished rows; refuse to mix them with, or replace, anything else.

        Raises
        ------
        EmbedError
            If the output or its parts were not made by this recipe. With ``overwrite`` those are
            passed over and will be replaced; work of this recipe is always kept.
        """
        try:
            if not self.output.parent.is_dir():
                raise EmbedError(f"no such folder for the output: {self.output.parent}")
            if self.output.is_dir():
                raise EmbedError(f"the output is a folder: {self.output}")
            self.failures_file.exists()  # names too long are refused before any work is done
        except OSError as error:
            raise EmbedError(f"cannot write {self.output}: {error.strerror}") from None
        self._refuse_foreign_files()
        self._places, self.previous, self._stale = {}, None, False
        if self.output.exists():
            self._inspect_output(overwrite=overwrite)
        plan = self.folder / "_recipe.json"
        if plan.exists():
            theirs = plan.read_text("utf-8", "replace")
            if theirs == self._recipe:
                self._find_parts()
            elif overwrite or not any(self.folder.glob("part-*")):
                self._stale = True
            else:
                self._refuse(f"{self.folder} holds unfinished work of other options", theirs)

    def _own_files(self) -> list[Path]:
        patterns = (".*.tmp", "part-*", "_recipe.json", "_lock")
        return [path for pattern in patterns for path in self.folder.glob(pattern)]

    def _refuse_foreign_files(self) -> None:
        """A folder of the user's that happens to have our name is not ours to write in."""
        if not self.folder.exists():
            return
        if not self.folder.is_dir() or set(self.folder.iterdir()) - set(self._own_files()):
            raise EmbedError(
                f"{self.folder} is in the way: it holds files that are not of poolwise embed; "
                "move them, or choose another output"
            )

    def _inspect_output(self, *, overwrite: bool) -> None:
        try:
            head = self._format.head(self.output)
            theirs = as_text(head.metadata["recipe"])
        except (ValueError, KeyError, OSError) as error:
            if overwrite:
                return
            reason = f"{self.output} exists and was not made by poolwise embed"
            raise EmbedError(f"{reason} ({error}); --overwrite replaces it") from None
        if theirs == self._recipe:
            self.previous = head
            self._add_places(self.output, head)
        elif not overwrite:
            self._refuse(f"{self.output} was made with other options", theirs)

    def _refuse(self, what: str, theirs: str) -> None:
        raise EmbedError(
            f"{what} ({differences(self._recipe, theirs)}): "
            "choose another output, or replace it with --overwrite"
        )

    def _find_parts(self) -> None:
        for path in sorted(self.folder.glob(f"part-*{self._format.suffix}")):
            self._next_part = int(path.stem.removeprefix("part-")) + 1
            try:
                self._add_places(path, self._format.head(path))
            except (ValueError, OSError):
                continue  # not whole (a disk that lied about its flush): its rows are made again

    def _add_places(self, path: Path, head: Head) -> None:
        if len(head.stamps):
            self.length = head.length
        for row, stamp in enumerate(head.stamps):
            self._places[stamp.tobytes()] = Place(path, row)

    def has(self, stamp: bytes) -> bool:
        """Whether this image's row is finished."""
        return stamp in self._places

    def is_current(self, stamps: Sequence[bytes], failures: int) -> bool:
        """Whether the output holds exactly these rows in this order, and says it is complete."""
        head = self.previous
        return (
            head is not None
            and head.metadata["complete"] is True
            and head.metadata["failures"] == failures
            and head.stamps.tobytes() == b"".join(stamps)
        )

    # -- writing --------------------------------------------------------------------------------

    def begin(self, *, overwrite: bool) -> None:
        """Make the parts folder, keep every other run out of it, sweep up after a crash."""
        try:
            self.folder.mkdir(exist_ok=True)
            self._lock = open(self.folder / "_lock", "wb")  # noqa: SIM115 - held until close()
            if not _locked(self._lock):
                raise EmbedError(f"another poolwise embed is writing {self.output}")
            self.inspect(overwrite=overwrite)  # again: another run may have ended just now
            for pattern in (".*.tmp", "part-*") if self._stale else (".*.tmp",):
                for path in self.folder.glob(pattern):
                    path.unlink()
            self.write_text(self.folder / "_recipe.json", self._recipe)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST):
                raise EmbedError(f"cannot write beside {self.output}: {error.strerror}") from None
            raise OutputError(error.errno, error.strerror, str(self.output)) from error

    def add(self, rows: Rows) -> None:
        """Take finished rows; write a part when there are enough or it has been long enough."""
        self.length = rows.length
        self._pending.append(rows)
        self._pending_rows += len(rows)
        late = time.monotonic() - self._last_write > PART_SECONDS
        if late or self._pending_rows >= rows_per_block(rows.length):
            self.flush()

    def flush(self) -> None:
        """Write what is pending as one part."""
        self._last_write = time.monotonic()
        if not self._pending:
            return
        rows = concatenate(self._pending)
        part = self.folder / f"part-{self._next_part:06d}{self._format.suffix}"
        self._write_rows(part, [rows], len(rows), complete=False, failures=0)
        self._next_part += 1
        self._pending, self._pending_rows = [], 0
        for row, stamp in enumerate(rows.stamp):
            self._places[stamp.tobytes()] = Place(part, row)

    def merge(self, stamps: Sequence[bytes], *, complete: bool, failures: int) -> None:
        """Make the output of the finished rows, in the order of ``stamps``."""
        blocks = regroup(self._gather(stamps), rows_per_block(self.length or 0))
        self._write_rows(self.output, blocks, len(stamps), complete=complete, failures=failures)

    def write_text(self, path: Path, text: str) -> None:
        """A small file, whole or not at all."""
        self._write(path, lambda file: file.write(text.encode()))

    def clear(self) -> None:
        """Remove the parts and their folder: the output holds everything."""
        self.close()
        for path in self._own_files():
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody put a file of theirs in meanwhile
            self.folder.rmdir()

    def remove_old_failures(self) -> None:
        """Remove the list of failures of an earlier run, and no other file of that name."""
        with contextlib.suppress(FileNotFoundError), open(self.failures_file, "rb") as file:
            if file.readline() != b"path,reason\n":
                return
        self.failures_file.unlink(missing_ok=True)

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _gather(self, stamps: Sequence[bytes]) -> Iterator[Rows]:
        """Rows in order, in runs that lie together; a few files are open at a time."""
        readers: dict[Path, Reader] = {}
        places = [self._places[stamp] for stamp in stamps]
        try:
            start = 0
            while start < len(places):
                file, row = places[start]
                end = start + 1
                while end < len(places) and places[end] == (file, row + end - start):
                    end += 1
                if file not in readers:
                    if len(readers) == _OPEN_FILES:
                        readers.pop(next(iter(readers))).close()
                    readers[file] = self._format.open(file)
                end = min(end, start + rows_per_block(self.length or 0))
                rows = readers[file].read(row, row + end - start)
                yield rows
                start += len(rows)
        finally:
            for reader in readers.values():
                reader.close()

    def _write_rows(
        self, path: Path, blocks: Iterable[Rows], count: int, *, complete: bool, failures: int
    ) -> None:
        metadata = {**self._metadata, "complete": complete, "rows": count, "failures": failures}
        self._write(
            path,
            lambda file: self._format.write(
                file, blocks, count=count, length=self.length or 0, metadata=metadata
            ),
        )

    def _write(self, path: Path, write: Callable[[IO[bytes]], object]) -> None:
        """Write, flush to the disk, rename: the file is whole or it is not there."""
        temporary = self.folder / f".{path.name}.tmp"
        try:
            try:
                with open(temporary, "wb") as file:
                    write(file)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, path)
                _sync_folder(path.parent)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        except OSError as error:
            raise OutputError(error.errno, error.strerror or str(error), str(path)) from error


def _locked(file: IO[bytes]) -> bool:
    """Lock for the life of this process, however it ends; True where files cannot be locked."""
    try:
        import fcntl
    except ModuleNotFoundError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems have no locks
        return True
    return True


def _sync_folder(folder: Path) -> None:
    """Make a rename last through a power failure (not possible, nor needed, on Windows)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
