"""How fast poolwise is, and how fast the others are, measured in one run on one machine.

`cases.py` is data, `peers/` are plug-ins, `runner.py` is the only thing that measures,
`report.py` the only thing that formats. See `python -m benchmarks run --help`, in the repository's
root.
"""
