"""How a command ends when it cannot go on."""

from __future__ import annotations

from typing import Never

import typer


def fail(message: str, status: int = 2) -> Never:
    """Say on stderr what is wrong, and exit with ``status``."""
    typer.echo(f"error: {message}", err=True)
    raise typer.Exit(status)
