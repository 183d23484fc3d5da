"""One call of `poolwise.torch` beside the same call of PyTorch, eager and compiled.

`networks/` says whether a model gets faster; this says why: which pooling, layout or direction
gains, and what a call costs when there is nothing to pool. `cases.py` is data, `runner.py`
measures, `table.py` formats. See `python -m benchmarks torch-ops --help`, in the repository's root.
"""
