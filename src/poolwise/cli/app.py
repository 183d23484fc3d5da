"""The list of commands. Each imports what it needs when it is called, so `--help` is quick."""

from __future__ import annotations

from typing import Annotated

import typer

from poolwise.cli.compare import compare
from poolwise.cli.embed import embed
from poolwise.cli.explain import explain
from poolwise.cli.info import info, print_version

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(embed)
app.command()(explain)
app.command()(compare)
app.command()(info)


@app.callback()
def poolwise(
    version: Annotated[
        bool,
        typer.Option("--version", callback=print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Pooling for convolutional networks: images to vectors, what a pooling reads, which suits."""
