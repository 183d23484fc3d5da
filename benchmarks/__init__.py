"""How fast poolwise is, and how fast the others are, measured in one run on one machine.

Kernels: `cases.py` is data, `peers/` are plug-ins, `runner.py` measures, `report.py` formats.
`networks/` measures whole PyTorch networks before and after `poolwise.torch.accelerate`, and
`torch_ops/` one call of `poolwise.torch` beside one of PyTorch; `paired.py` times for both.
See `python -m benchmarks run --help`, in the repository's root.
"""
