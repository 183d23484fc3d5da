"""How fast poolwise is, and how fast the others are, measured in one run on one machine.

Kernels: `catalogue.py` and `targets.py` are data, `peers/` are plug-ins, `runner.py` measures,
`results.py` keeps, `report.py` formats; `instructions.py` counts. README.md says how to use them.
`networks/` measures whole PyTorch networks before and after `poolwise.torch.accelerate`, and
`torch_ops/` one call of `poolwise.torch` beside one of PyTorch; `paired.py` times for both.
See `python -m benchmarks run --help`, in the repository's root.
"""
