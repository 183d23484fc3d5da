"""Images → feature maps → vectors, on all cores, in order, in constant memory.

Decoding and the backbone run in threads: Pillow, NumPy and ONNX Runtime release Python's lock
while they work. Measured on 500 × 375 JPEGs, two (busy) cores: 205 → 268 images/s from one worker
to two, 176 → 361 with processes. Threads were chosen all the same: they start at once, share one
model and one pooling core, copy no feature maps, and cannot die without a word and hang the run.

At most a few images per worker are under way. Results are taken in the order of the images, and
the maps are pooled in chunks, each one call on poolwise's own pool.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from poolwise import spatial_pyramid_pool
from poolwise.embed.backbones import Backbone
from poolwise.embed.decode import decode
from poolwise.embed.errors import ImageError
from poolwise.embed.options import Options
from poolwise.embed.rows import Rows, stamps_array
from poolwise.embed.sources import ImageFile

# Images under way per worker: enough that one slow image does not idle the others.
_AHEAD = 4
# A chunk of maps that is pooled in one call.
_CHUNK_MAPS = 64
_CHUNK_BYTES = 16 << 20
_CHUNK_SECONDS = 0.5  # a slow model should still show progress

Item = TypeVar("Item")
Result = TypeVar("Result")


class Mapped(NamedTuple):
    """A feature map, with what its row needs to know of the image."""

    image: ImageFile
    width: int
    height: int
    features: NDArray[np.float32]


class Failed(NamedTuple):
    """An image that has no vector, and why."""

    image: ImageFile
    reason: str


def in_order(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    stopped: Callable[[], bool] = lambda: False,
) -> Generator[Result, None, None]:
    """``map`` over threads with bounded look-ahead; ends early once ``stopped()``.

    What is under way when it stops is finished and thrown away.
    """
    source = iter(items)
    waiting: deque[Future[Result]] = deque()
    executor = ThreadPoolExecutor(workers, thread_name_prefix="poolwise-embed")
    try:
        while not stopped():
            for item in source:
                waiting.append(executor.submit(function, item))
                if len(waiting) >= workers * _AHEAD:
                    break
            if not waiting:
                return
            try:
                result = waiting[0].result(timeout=0.2)  # so that a stop is seen soon
            except FutureTimeout:
                if not waiting[0].done():
                    continue
                result = waiting[0].result()
            waiting.popleft()
            yield result
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def feature_maps(
    images: Iterable[ImageFile],
    backbone: Backbone,
    options: Options,
    *,
    workers: int,
    stopped: Callable[[], bool] = lambda: False,
) -> Generator[Mapped | Failed, None, None]:
    """Decode each image and run the backbone; what goes wrong stays with its image."""

    def one(image: ImageFile) -> Mapped | Failed:
        try:
            rgb, width, height = decode(
                image, max_side=options.max_side, limit_pixels=options.limit_pixels
            )
            return Mapped(image, width, height, backbone(rgb))
        except ImageError as error:
            return Failed(image, str(error))
        except MemoryError:
            return Failed(image, "not enough memory for its feature map")
        except Exception as error:  # a fault of ours costs one image, not the run
            return Failed(image, f"{type(error).__name__}: {error}")

    return in_order(one, images, workers=workers, stopped=stopped)


def vectors(
    results: Iterable[Mapped | Failed], options: Options, *, length: int | None = None
) -> Iterator[Rows | Failed]:
    """Pool the maps in chunks. ``length`` is that of the vectors there are already, if any."""
    chunk: list[Mapped] = []
    held, since = 0, time.monotonic()
    for result in results:
        if isinstance(result, Failed):
            yield result
            continue
        own = len(result.features) * options.bins
        length = own if length is None else length
        if own != length:
            yield Failed(result.image, f"gives a vector of {own} numbers, the others {length}")
            continue
        chunk.append(result)
        held += result.features.nbytes + 4 * own
        late = time.monotonic() - since > _CHUNK_SECONDS
        if late or len(chunk) == _CHUNK_MAPS or held >= _CHUNK_BYTES:
            yield pooled(chunk, options)
            chunk, held, since = [], 0, time.monotonic()
    if chunk:
        yield pooled(chunk, options)


def pooled(chunk: list[Mapped], options: Options) -> Rows:
    """One call of :func:`poolwise.spatial_pyramid_pool` for maps of any sizes."""
    maps = [item.features for item in chunk]
    vector = spatial_pyramid_pool(maps, options.levels, options.pool)
    if options.normalize:
        norms = np.sqrt(np.square(vector, dtype=np.float64).sum(axis=1, keepdims=True))
        vector = (vector / np.where(norms == 0, 1, norms)).astype(np.float32)
    return Rows(
        [item.image.name for item in chunk],
        np.array([item.width for item in chunk], np.int32),
        np.array([item.height for item in chunk], np.int32),
        vector,
        stamps_array(item.image.stamp() for item in chunk),
    )
