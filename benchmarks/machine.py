"""What the numbers were measured on: the processor and the versions, and no name of any host."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import poolwise as pw

PACKAGES = (
    *("poolwise", "numpy", "torch", "onnxruntime", "openvino", "jax"),
    *("opencv-python-headless", "scipy", "scikit-image"),
)


def processor() -> str:
    """The processor's model, from the kernel where it says so."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def versions() -> list[str]:
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found


def isa() -> str:
    """The instruction set poolwise runs with, as its own configuration says."""
    return str(pw.show_config()["isa"])


def cores() -> int:
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def describe() -> str:
    """One line for the head of a table."""
    return (
        f"{processor()}, {cores()} cores, {platform.system()}, {isa()} kernels; "
        f"{', '.join(versions())}"
    )
