"""What runs below callgrind: each case `CALLS` times, then twice as often, with marks between.

The difference is `CALLS` calls and nothing else: what Python and a first call cost cancels out. A
mark is a call of libc that nothing else makes; callgrind writes its counts and begins anew there.
"""

from __future__ import annotations

import os

MARK = "getppid"
CALLS = 2
SHAPE = (1, 32, 112, 112)
OUTPUTS = 32 * 112 * 112

# Name: reducer, kernel, whether channels lie last. Stride 1, padded to one output per cell.
CASES = {
    f"{op} {k}x{k}/1 {layout}": (reducer, k, layout == "NHWC")
    for layout in ("NCHW", "NHWC")
    for op, reducer in (("max", "max"), ("avg", "mean"))
    for k in (3, 13, 31)
}


def main() -> None:
    import numpy as np

    import poolwise as pw

    x = np.random.default_rng(2014).standard_normal(SHAPE, dtype=np.float32)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
    calls = []
    for reducer, k, channels_last in CASES.values():
        windows, source = pw.Windows.sliding(k, 1, k // 2), last if channels_last else x
        out = np.empty_like(source)
        calls.append((source, windows, reducer, (1, 2) if channels_last else (2, 3), out))
        pw.pool(source, windows, reducer, axes=calls[-1][3], out=out)
    for source, windows, reducer, axes, out in calls:
        for count in (CALLS, 2 * CALLS):
            os.getppid()
            for _ in range(count):
                pw.pool(source, windows, reducer, axes=axes, out=out)
    os.getppid()
    print(pw.show_config()["isa"])


if __name__ == "__main__":
    main()
