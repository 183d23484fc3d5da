"""Whole networks, before and after `poolwise.torch.accelerate`: does the user's model get faster?

A kernel may be ten times faster and a network no faster at all: copies between layouts, overhead
per call and a convolution that finds its input in other caches are only seen here. The models are
written from their papers, as users write them, with seeded random weights: speed does not depend on
what a network has learnt. `catalogue.py` is data, `runner.py` measures, `table.py` formats.
See `python -m benchmarks networks --help`, in the repository's root.
"""
