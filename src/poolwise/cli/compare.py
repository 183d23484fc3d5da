"""`poolwise compare`: arguments in, table and exit status out; the work is `poolwise.compare`.

Exit status: 0 all went well; 1 the comparison is done, but some files could not be read; 2 it
cannot be carried out as asked; 3 the output could not be written; 130 stopped by Ctrl-C (143 by
SIGTERM), and the same command goes on.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poolwise.cli._exit import fail

if TYPE_CHECKING:
    from poolwise.compare import Outcome

# Failures named on the terminal; the report lists all.
_SHOWN = 5


class Preset(StrEnum):
    """How much training: minutes, tens of minutes, hours."""

    quick = "quick"
    standard = "standard"
    thorough = "thorough"


def compare(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A folder with a folder of images per class (or train/ and test/ with such), or "
            "textures or digits, which are built in.",
        ),
    ] = "textures",
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder for report and results.")
    ] = Path("poolwise-compare"),
    pools: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Methods, the first is the baseline: max:2/2,max:3/2,avg:2/2+gap,spp:4,warp,multi "
            "... See --show-pools. If not given: what the survey discusses.",
        ),
    ] = None,
    preset: Annotated[Preset, typer.Option(help="Seeds, epochs and width.")] = Preset.standard,
    seeds: Annotated[
        int | None,
        typer.Option(metavar="N", help="Trainings per method; 3 at least for intervals."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(metavar="N", help="Passes over the training images.")
    ] = None,
    width: Annotated[
        int | None, typer.Option(metavar="N", help="Channels of the first convolution.")
    ] = None,
    batch: Annotated[int, typer.Option(metavar="N", help="Images per step.")] = 8,
    learning_rate: Annotated[float, typer.Option(metavar="RATE", help="Adam's, at first.")] = 5e-3,
    device: Annotated[str, typer.Option(metavar="NAME", help="cpu, cuda, ...")] = "cpu",
    max_side: Annotated[
        int, typer.Option(metavar="PIXELS", help="Shrink a folder's longer images; 0 never.")
    ] = 128,
    split_seed: Annotated[
        int, typer.Option(metavar="N", help="Draws the test images of a folder without test/.")
    ] = 0,
    jobs: Annotated[
        int | None,
        typer.Option(metavar="N", help="Trainings at the same time. If not given: one per core."),
    ] = None,
    show_pools: Annotated[
        bool, typer.Option("--show-pools", help="Print how methods are spelled, and exit.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but errors and failures.")
    ] = False,
) -> None:
    """Say which pooling suits these images, with error bars.

    Trains the same small network with each pooling and several seeds, and writes report.html,
    results.csv, results.json, best.pt and best.onnx. Stopped by anything, the same command goes on.
    """
    try:
        # Loaded on call: torch takes a second, and may not be installed.
        from poolwise.cli._compare_progress import progress_for
        from poolwise.cli._compare_table import print_table
        from poolwise.compare import CompareError, CompareInterrupt, MissingExtraError
        from poolwise.compare import compare as run
        from poolwise.compare.methods import DEFAULT_POOLS, SPELLING
    except ImportError as error:
        fail(str(error))
    if show_pools:
        typer.echo(f"{SPELLING}\n\nif --pools is not given: {DEFAULT_POOLS}")
        raise typer.Exit
    try:
        with progress_for(quiet=quiet) as progress:
            outcome = run(
                data,
                output,
                pools=DEFAULT_POOLS if pools is None else pools,
                preset=preset.value,
                seeds=seeds,
                epochs=epochs,
                width=width,
                batch=batch,
                learning_rate=learning_rate,
                device=device,
                max_side=max_side,
                split_seed=split_seed,
                jobs=_cores() if jobs is None else jobs,
                progress=progress,
            )
    except (CompareError, MissingExtraError) as error:
        fail(str(error))
    except CompareInterrupt as error:
        kept = f"{error.finished} of {error.runs} runs are kept in {output}"
        typer.echo(f"stopped: {kept}; the same command goes on from there", err=True)
        raise typer.Exit(128 + error.signal) from None
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on from what is finished", err=True)
        raise typer.Exit(130) from None
    except OSError as error:
        text = f"cannot write {error.filename or output}: {error.strerror or error}"
        fail(f"{text}. Finished runs are kept; the same command goes on from there", 3)
    if not quiet:
        print_table(outcome)
    _show_failures(outcome)
    raise typer.Exit(1 if outcome.failures else 0)


def _cores() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _show_failures(outcome: Outcome) -> None:
    if not outcome.failures:
        return
    count = len(outcome.failures)
    typer.echo(f"{count} file{'s' if count > 1 else ''} could not be read:", err=True)
    for path, reason in outcome.failures[:_SHOWN]:
        typer.echo(f"  {path}: {reason}", err=True)
    if count > _SHOWN:
        typer.echo(f"  and {count - _SHOWN} more, in the report", err=True)
