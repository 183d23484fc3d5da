"""The command `poolwise`: compare, embed, explain, info."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; the entry point of the script `poolwise`."""
    for stream in (sys.stdout, sys.stderr):
        # File names and × must not end a run on a terminal that knows ASCII only.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        from poolwise.cli.app import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("typer", "click", "rich"):
            raise
        message = f"the poolwise command needs {error.name}"
        print(f'error: {message}: pip install "poolwise[demo]"', file=sys.stderr)
        sys.exit(2)
    app(prog_name="poolwise")
