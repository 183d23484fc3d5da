"""`poolwise info`: what this installation can do, or how a file of vectors was made."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

_EXTRAS = {
    "demo": ("pillow", "pyarrow", "rich", "typer", "scikit-image", "matplotlib"),
    "onnx": ("onnxruntime", "onnx"),
    "compare": ("torch", "scipy", "scikit-learn", "jinja2"),
}


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def print_version(wanted: bool) -> None:
    """Callback of `poolwise --version`."""
    if wanted:
        typer.echo(f"poolwise {_version_of('poolwise') or '(not installed)'}")
        raise typer.Exit


def info(
    file: Annotated[
        Path | None,
        typer.Argument(help="A file that `poolwise embed` wrote.", show_default=False),
    ] = None,
) -> None:
    """Say what this installation can do, or how a file of vectors was made."""
    if file is not None:
        _show_file(file)
        return
    import poolwise

    typer.echo(f"poolwise {_version_of('poolwise') or '(not installed)'}")
    for name, value in (poolwise.show_config() or {}).items():
        typer.echo(f"  {name}: {value}")
    for extra, packages in _EXTRAS.items():
        found = ", ".join(f"{name} {_version_of(name) or 'missing'}" for name in packages)
        typer.echo(f"  [{extra}]: {found}")


def _show_file(file: Path) -> None:
    try:
        from poolwise.embed.formats import format_for

        head = format_for(file).head(file)
    except (ImportError, ValueError, OSError) as error:
        typer.echo(f"error: {file}: {error}", err=True)
        raise typer.Exit(2) from None
    complete = "complete" if head.metadata["complete"] else "not complete: stopped on the way"
    typer.echo(f"{file}: {len(head.stamps)} rows of {head.length} numbers, {complete}")
    typer.echo(f"  failures: {head.metadata['failures']}")
    for name, value in {**head.metadata["recipe"], **head.metadata["versions"]}.items():
        typer.echo(f"  {name}: {value}")
