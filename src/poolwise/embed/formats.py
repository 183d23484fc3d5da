"""What the store asks of a file format: Parquet and npz differ in nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from poolwise.embed.errors import EmbedError
from poolwise.embed.rows import Rows


@dataclass(frozen=True)
class Head:
    """What a finished part or output says about itself, read without its vectors."""

    metadata: dict[str, Any]
    stamps: NDArray[np.uint8]
    length: int


class Reader(Protocol):
    """Rows of one file, by number; reading forward is cheap, memory is one block."""

    def read(self, start: int, stop: int) -> Rows: ...

    def close(self) -> None: ...


class Format(Protocol):
    """One kind of output file. ``head`` raises ValueError for a file that is not ours."""

    suffix: str

    def write(
        self,
        file: IO[bytes],
        blocks: Iterable[Rows],
        *,
        count: int,
        length: int,
        metadata: dict[str, Any],
    ) -> None: ...

    def head(self, path: Path) -> Head: ...

    def open(self, path: Path) -> Reader: ...


def format_for(output: Path) -> Format:
    """The format that the file's suffix names.

    Raises
    ------
    EmbedError
        For any other suffix.
    """
    if output.suffix == ".parquet":
        from poolwise.embed.parquet import Parquet

        return Parquet()
    if output.suffix == ".npz":
        from poolwise.embed.npz import Npz

        return Npz()
    raise EmbedError(f"the output must end in .parquet or .npz: {output}")
