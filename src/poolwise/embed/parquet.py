"""Rows as Parquet: columns path, width, height, vector (fixed-size list of float32).

How the file was made stands in the schema's metadata under ``poolwise`` (JSON). The stamps that
resuming needs are in the footer only, so that they do not show up in every reader's schema.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import numpy as np

from poolwise.embed.errors import MissingExtraError
from poolwise.embed.formats import Head
from poolwise.embed.rows import Rows
from poolwise.embed.sources import STAMP_BYTES

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError:
    raise MissingExtraError("a .parquet output", "pyarrow", "demo") from None

_KEY, _STAMPS = b"poolwise", b"poolwise.stamps"


class Parquet:
    """See :class:`poolwise.embed.formats.Format`."""

    suffix = ".parquet"

    def write(
        self,
        file: IO[bytes],
        blocks: Iterable[Rows],
        *,
        count: int,
        length: int,
        metadata: dict[str, Any],
    ) -> None:
        schema = pa.schema(
            [
                pa.field("path", pa.string(), nullable=False),
                pa.field("width", pa.int32(), nullable=False),
                pa.field("height", pa.int32(), nullable=False),
                pa.field("vector", pa.list_(pa.float32(), length), nullable=False),
            ],
            metadata={_KEY: json.dumps(metadata, sort_keys=True)},
        )
        stamps = bytearray()
        # Paths never repeat and vectors hardly compress: dictionaries would only cost time.
        with pq.ParquetWriter(file, schema, use_dictionary=False) as writer:
            for rows in blocks:
                values = pa.array(rows.vector.ravel())
                vectors = pa.FixedSizeListArray.from_arrays(values, length)
                columns = [pa.array(rows.name), rows.width, rows.height, vectors]
                writer.write_table(pa.table(columns, schema=schema), row_group_size=len(rows))
                stamps += rows.stamp.tobytes()
            writer.add_key_value_metadata({_STAMPS: base64.b64encode(bytes(stamps))})

    def head(self, path: Path) -> Head:
        try:
            with pq.ParquetFile(path) as file:
                footer, schema = file.metadata.metadata or {}, file.schema_arrow
        except pa.ArrowException as error:
            raise ValueError(f"not a Parquet file: {error}") from None
        if _KEY not in footer or _STAMPS not in footer:
            raise ValueError("not written by poolwise embed")
        stamps = np.frombuffer(base64.b64decode(footer[_STAMPS]), np.uint8)
        return Head(
            json.loads(footer[_KEY]),
            stamps.reshape(-1, STAMP_BYTES),
            schema.field("vector").type.list_size,
        )

    def open(self, path: Path) -> ParquetReader:
        return ParquetReader(path, self.head(path))


class ParquetReader:
    """Keeps the last row group: blocks are read forward, so each group is read once."""

    def __init__(self, path: Path, head: Head) -> None:
        self._file = pq.ParquetFile(path)
        self._head = head
        meta = self._file.metadata
        sizes = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
        self._starts = np.cumsum([0, *sizes])
        self._group = -1
        self._rows: Rows | None = None

    def read(self, start: int, stop: int) -> Rows:
        """Rows of one row group from ``start`` on, at most to ``stop``."""
        group = int(np.searchsorted(self._starts, start, side="right")) - 1
        first = int(self._starts[group])
        if self._rows is None or group != self._group:
            self._rows = self._load(group, first)
            self._group = group
        return self._rows[start - first : stop - first]

    def _load(self, group: int, first: int) -> Rows:
        table = self._file.read_row_group(group).combine_chunks()
        count, length = table.num_rows, self._head.length
        vectors = table["vector"].chunk(0).flatten().to_numpy()
        return Rows(
            table["path"].to_pylist(),
            table["width"].to_numpy(),
            table["height"].to_numpy(),
            vectors.reshape(count, length),
            self._head.stamps[first : first + count],
        )

    def close(self) -> None:
        self._file.close()
