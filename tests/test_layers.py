"""The layers of the design, held by reading every import: they only ever point down.

    cli -> embed, compare -> front ends (torch) -> poolwise itself -> pooling, pyramid
        -> _native, reference -> windows, reducers

and `import poolwise` stays light: NumPy, the standard library, and well under a fifth of a second.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "poolwise"

# Lowest first; a module belongs where the first part of its dotted name below poolwise stands.
# "" is poolwise/__init__.py, which only re-exports: what stands above it may use the public names.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("windows", "reducers", "_axis", "_plan", "_checks", "_dtypes", "_arrays"),
    ("_native", "reference"),
    ("pooling", "pyramid", "sliding", "extremes", "adaptive", "_engine", "_config"),
    ("",),
    ("torch",),
    ("embed", "compare"),
    ("cli",),
)
HEIGHT = {name: height for height, names in enumerate(LAYERS) for name in names}


def height_of(module: str) -> int:
    top = module.partition(".")[0]
    assert top in HEIGHT, f"poolwise.{top} has no place in LAYERS: say which layer it belongs to"
    return HEIGHT[top]


def module_name(path: Path) -> str:
    """The dotted name below `poolwise`: `windows`, `cli.explain`, `embed` for embed/__init__.py."""
    parts = list(path.relative_to(SOURCE).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def exists(name: str) -> bool:
    path = SOURCE / name.replace(".", "/")
    stems = (path.with_suffix(".py"), path.with_suffix(".pyi"), path / "__init__.py")
    return bool(name) and any(stem.exists() for stem in stems)


def imported(tree: ast.AST, module: str, is_package: bool) -> list[tuple[int, str]]:
    """Every import of something of poolwise: its line, and the dotted name below `poolwise`."""
    package = ["poolwise", *module.split(".")] if module else ["poolwise"]
    if not is_package:
        package = package[:-1]
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            names = []
            for alias in node.names:
                below = f"{origin}.{alias.name}".removeprefix("poolwise.")
                names.append(f"{origin}.{alias.name}" if exists(below) else origin)
        else:
            continue
        for name in names:
            if name == "poolwise" or name.startswith("poolwise."):
                found.append((node.lineno, name.removeprefix("poolwise").removeprefix(".")))
    return found


def upward_imports(source: str, module: str, is_package: bool = False) -> list[str]:
    """What this module imports from a layer above its own, as `line: name`."""
    height = height_of(module)
    return [
        f"line {line}: {name or 'poolwise'}"
        for line, name in imported(ast.parse(source), module, is_package)
        if height_of(name) > height
    ]


FILES = sorted([*SOURCE.rglob("*.py"), *SOURCE.rglob("*.pyi")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: module_name(path) or "__init__")
def test_imports_point_down(path: Path) -> None:
    module = module_name(path)
    upward = upward_imports(path.read_text(encoding="utf-8"), module, path.stem == "__init__")
    assert not upward, f"{module} imports from a layer above its own: {upward}"


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("windows", "from poolwise.pooling import pool"),
        ("windows", "import poolwise.reference"),
        ("windows", "from poolwise import Windows"),
        ("reducers", "def late():\n    from . import pooling"),
        ("reducers", "from .cli.explain import explain"),
        ("reference", "if TYPE_CHECKING:\n    import poolwise as pw"),
        ("pooling", "from poolwise import embed"),
        ("embed.images", "from ..cli import app"),
        ("", "from .cli import app"),
    ],
)
def test_a_planted_upward_import_is_caught(module: str, source: str) -> None:
    assert upward_imports(source, module, is_package=module == "")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("pooling", "from poolwise import windows, reducers"),
        ("pooling", "from . import windows\nfrom .reducers import as_reducer"),
        ("reference", "from poolwise.windows import Plan\nimport numpy as np"),
        ("embed.images", "import poolwise as pw\nfrom .backbones import gradients"),
        ("cli.explain", "from poolwise.windows import Windows\nfrom poolwise import embed"),
        ("windows", "import torch\nfrom embed import cli"),
    ],
)
def test_a_downward_import_is_not(module: str, source: str) -> None:
    assert not upward_imports(source, module)


def test_the_core_knows_nothing_of_python() -> None:
    """Only bindings*.cpp may include Python or nanobind."""
    native = [path for path in (ROOT / "native").rglob("*") if path.suffix in {".h", ".cpp"}]
    guilty = [
        path.name
        for path in native
        if not path.name.startswith("bindings")
        and re.search(r"#\s*include\s*[<\"](Python\.h|nanobind/)", path.read_text(encoding="utf-8"))
    ]
    assert native
    assert not guilty


def run_python(code: str) -> str:
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def test_import_is_quick() -> None:
    """NumPy first, then the clock: the rest of `import poolwise` takes < 0.15 s, at best."""
    code = (
        "import numpy, time; began = time.perf_counter(); import poolwise; "
        "print(time.perf_counter() - began)"
    )
    seconds = []
    for _ in range(7):
        seconds.append(float(run_python(code)))
        if seconds[-1] < 0.15:
            break
    assert min(seconds) < 0.15, seconds


def test_import_pulls_in_numpy_and_the_standard_library_alone() -> None:
    code = (
        "import sys, numpy; before = set(sys.modules); import poolwise; "
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    )
    allowed = {*sys.stdlib_module_names, "numpy", "poolwise"}
    extra = {
        name
        for name in run_python(code).split()
        if name not in allowed and not name.startswith("_sysconfigdata")
    }
    assert not extra
