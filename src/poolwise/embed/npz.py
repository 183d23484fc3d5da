"""Rows as a NumPy archive: arrays path, width, height, vector, and metadata (JSON).

``numpy.savez`` wants whole arrays; here the vectors are streamed into the archive, so that memory
does not grow with the number of images.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from poolwise.embed.formats import Head
from poolwise.embed.rows import Rows


class Npz:
    """See :class:`poolwise.embed.formats.Format`."""

    suffix = ".npz"

    def write(
        self,
        file: IO[bytes],
        blocks: Iterable[Rows],
        *,
        count: int,
        length: int,
        metadata: dict[str, Any],
    ) -> None:
        narrow: list[Rows] = []  # everything but the vectors: some tens of bytes a row
        with zipfile.ZipFile(file, "w") as archive:
            # A ZipInfo without a time gives 1980: the same rows, the same bytes.
            with archive.open(zipfile.ZipInfo("vector.npy"), "w", force_zip64=True) as entry:
                descr = npy.dtype_to_descr(np.dtype(np.float32))
                header = {"descr": descr, "fortran_order": False, "shape": (count, length)}
                npy.write_array_header_1_0(entry, header)
                for rows in blocks:
                    entry.write(np.ascontiguousarray(rows.vector).data)
                    empty = np.empty((len(rows), 0), np.float32)
                    narrow.append(Rows(rows.name, rows.width, rows.height, empty, rows.stamp))
            columns = {
                "path": np.array([name for rows in narrow for name in rows.name], np.str_),
                "width": _joined([rows.width for rows in narrow], np.zeros(0, np.int32)),
                "height": _joined([rows.height for rows in narrow], np.zeros(0, np.int32)),
                "stamp": _joined([rows.stamp for rows in narrow], np.zeros((0, 16), np.uint8)),
                "metadata": np.array(json.dumps(metadata, sort_keys=True)),
            }
            for name, array in columns.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                    npy.write_array(entry, array, allow_pickle=False)

    def head(self, path: Path) -> Head:
        try:
            # a file of our own: NumPy forgets to close its one when the archive is damaged
            with open(path, "rb") as file, np.load(file) as arrays:
                metadata = json.loads(str(arrays["metadata"]))
                stamps = arrays["stamp"]
            reader = self.open(path)
        except (KeyError, TypeError, zipfile.BadZipFile, EOFError) as error:
            raise ValueError(f"not written by poolwise embed: {error}") from None
        with reader:
            return Head(metadata, stamps, reader.length)

    def open(self, path: Path) -> NpzReader:
        return NpzReader(path)


def _joined(arrays: list[Any], empty: Any) -> Any:
    return np.concatenate([empty, *arrays])


class NpzReader:
    """Reads vectors from the uncompressed archive by seeking, without loading the rest."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as arrays:
            self._columns = {name: arrays[name] for name in ("path", "width", "height", "stamp")}
        self._archive = zipfile.ZipFile(path)
        self._entry = self._archive.open("vector.npy")
        npy.read_magic(self._entry)
        (_, self.length), _, _ = npy.read_array_header_1_0(self._entry)
        self._offset = self._entry.tell()

    def __enter__(self) -> NpzReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read(self, start: int, stop: int) -> Rows:
        """Rows from ``start`` to ``stop``."""
        self._entry.seek(self._offset + 4 * self.length * start)
        data = self._entry.read(4 * self.length * (stop - start))
        part = slice(start, stop)
        return Rows(
            self._columns["path"][part].tolist(),
            self._columns["width"][part],
            self._columns["height"][part],
            np.frombuffer(data, np.float32).reshape(stop - start, self.length),
            self._columns["stamp"][part],
        )

    def close(self) -> None:
        self._entry.close()
        self._archive.close()
