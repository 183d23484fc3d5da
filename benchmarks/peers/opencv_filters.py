"""OpenCV's filters: `dilate` is a maximum and `boxFilter` a mean, at stride 1, of images.

NCHW is one image per plane, NHWC one per sample, as many as OpenCV allows channels. Its threads
work within an image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from benchmarks.arrays import channels_first
from benchmarks.peers import Run

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.arrays import Arrays
    from benchmarks.cases import Case

CHANNELS = 128  # the most of an image in OpenCV 5 (512 in OpenCV 4)


class OpenCV:
    name = "OpenCV"
    checked = True
    threads_note = "`cv2.setNumThreads`, within an image"

    def set_threads(self, threads: int) -> None:
        cv2.setNumThreads(threads)

    def prepare(self, case: Case, arrays: Arrays) -> Run | None:
        if len(case.spatial) != 2 or case.direction != "forward" or not case.same:
            return None
        if case.chained > 1 or (case.layout == "nhwc" and case.shape[1] > CHANNELS):
            return None
        if case.dtype not in ("f32", "f64", "u8", "i16") or (case.op, case.dtype) == ("avg", "i16"):
            return None
        x = arrays.of(case)
        floats = case.op == "avg" and case.dtype == "u8"
        out = np.empty(x.shape, np.float32 if floats else x.dtype)
        flat = (-1, *case.spatial) if case.layout == "nchw" else x.shape
        images = list(zip(x.reshape(flat), out.reshape(flat), strict=True))
        work = _filter(case, cv2.CV_32F if floats else -1)

        def call() -> None:
            for source, target in images:
                work(source, target)

        try:
            work(*images[0])
        except cv2.error:
            return None
        return Run(call, lambda _: [out if case.layout == "nchw" else channels_first(out)])


def _filter(case: Case, depth: int) -> Callable[[np.ndarray, np.ndarray], object]:
    if case.op == "max":  # outside the image nothing wins: the default border
        kernel = np.ones(case.kernel, np.uint8)
        return lambda source, target: cv2.dilate(source, kernel, dst=target)
    size = case.kernel[::-1]
    return lambda source, target: cv2.boxFilter(
        source, depth, size, dst=target, normalize=True, borderType=cv2.BORDER_CONSTANT
    )
