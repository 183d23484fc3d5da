"""`python -m benchmarks.networks` is `python -m benchmarks networks`."""

from __future__ import annotations

import sys

from benchmarks.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["networks", *sys.argv[1:]]))
