"""A block of finished rows, and the few things that are done with blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from poolwise.embed.sources import STAMP_BYTES

# Bounds of a block, and so of a part and of a row group: small enough that nothing is felt in
# memory, large enough that a file of a million rows is read by column at full speed.
BLOCK_ROWS = 1024
BLOCK_BYTES = 16 << 20


@dataclass(frozen=True)
class Rows:
    """``stamp`` (n, 16) says which state of which file a row was made of."""

    name: list[str]
    width: NDArray[np.int32]
    height: NDArray[np.int32]
    vector: NDArray[np.float32]
    stamp: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.name)

    @property
    def length(self) -> int:
        """Numbers per vector."""
        return int(self.vector.shape[1])

    def __getitem__(self, part: slice) -> Rows:
        return Rows(
            self.name[part],
            self.width[part],
            self.height[part],
            self.vector[part],
            self.stamp[part],
        )


def concatenate(blocks: list[Rows]) -> Rows:
    """One block of several (at least one)."""
    if len(blocks) == 1:
        return blocks[0]
    return Rows(
        [name for block in blocks for name in block.name],
        np.concatenate([block.width for block in blocks]),
        np.concatenate([block.height for block in blocks]),
        np.concatenate([block.vector for block in blocks]),
        np.concatenate([block.stamp for block in blocks]),
    )


def stamps_array(stamps: Iterable[bytes]) -> NDArray[np.uint8]:
    """Stamps as an array (n, 16)."""
    return np.frombuffer(b"".join(stamps), np.uint8).reshape(-1, STAMP_BYTES)


def rows_per_block(length: int) -> int:
    """Rows of a full block of vectors of ``length`` numbers."""
    return max(1, min(BLOCK_ROWS, BLOCK_BYTES // max(1, 4 * length)))


def regroup(blocks: Iterable[Rows], size: int) -> Iterator[Rows]:
    """Blocks of exactly ``size`` rows (the last may be shorter).

    The output's row groups, and with them its bytes, do not depend on where a run was stopped.
    """
    held: list[Rows] = []
    count = 0
    for block in blocks:
        held.append(block)
        count += len(block)
        while count >= size:
            joined = concatenate(held)
            yield joined[:size]
            held, count = [joined[size:]], count - size
    if count:
        yield concatenate(held)
