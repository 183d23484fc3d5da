"""`poolwise embed`: arguments in, exit status out; the work is `poolwise.embed.embed`.

Exit status: 0 all went well; 1 some images failed, all others are done; 2 the command cannot be
carried out as it stands; 3 the output could not be written (finished work is kept); 130 stopped
by Ctrl-C (143 by SIGTERM), and the same command resumes.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from poolwise.cli._exit import fail

if TYPE_CHECKING:
    from poolwise.embed import Report

# Failures named on the terminal; the file lists all.
_SHOWN = 5


class Pool(StrEnum):
    """What is made of the cells of a bin."""

    max = "max"
    mean = "mean"


def embed(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE",
            help="Images, folders (with all below) and globs. Each image is taken once.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Where to: a .parquet or .npz file. Needed."
        ),
    ] = None,
    sample: Annotated[
        bool, typer.Option("--sample", help="Photographs of scikit-image, at three sizes each.")
    ] = False,
    levels: Annotated[
        str, typer.Option(metavar="N,N", help="Grids of the pyramid: 4 is 4x4, or 2x3.")
    ] = "1,2,4",
    pool: Annotated[
        Pool | None,
        typer.Option(help="Of a bin's cells. If not given: mean for gradients, max for onnx."),
    ] = None,
    backbone: Annotated[
        str, typer.Option(metavar="NAME", help="gradients, or onnx:FILE for a CNN of your own.")
    ] = "gradients",
    onnx_output: Annotated[
        str | None, typer.Option(metavar="NAME", help="A feature map inside the ONNX model.")
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            metavar="R,G,B", help="ONNX: subtracted from RGB in 0..1. If not given: ImageNet's."
        ),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(metavar="R,G,B", help="ONNX: divided by. If not given: ImageNet's."),
    ] = None,
    normalize: Annotated[
        bool, typer.Option("--normalize", help="Scale every vector to length 1 (L2).")
    ] = False,
    max_side: Annotated[
        int | None,
        typer.Option(
            metavar="PIXELS",
            help="Shrink larger images to this; 0 never. If not given: 256 for gradients, "
            "512 for onnx.",
        ),
    ] = None,
    limit_pixels: Annotated[
        int, typer.Option(metavar="PIXELS", help="Images of more pixels fail, undecoded.")
    ] = 100_000_000,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Leave out of folders, as '*.txt'. May be repeated."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", help="Images at the same time. If not given: one per core."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an output made with other options.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print nothing but errors and failures.")
    ] = False,
) -> None:
    """Turn images of any size into vectors of one length.

    Writes the columns path, width, height and vector to a Parquet or npz file, and images that
    fail, with the reason, to FILE.failures.csv. Transparency is shown over white, EXIF turns the
    image, animations give their first frame, hidden files are passed over. Stopped by anything,
    the same command resumes.
    """
    if output is None:
        fail("where to? Name the output: -o vectors.parquet")
    try:
        # Loaded on call: Pillow and pyarrow take half a second, and may not be installed.
        from poolwise.cli.progress import progress_for
        from poolwise.embed import embed as run
        from poolwise.embed import errors
        from poolwise.embed.options import parse_levels, parse_numbers
    except ImportError as error:
        fail(str(error))
    try:
        with progress_for(quiet=quiet) as progress:
            report = run(
                sources or [],
                output,
                levels=parse_levels(levels),
                pool=pool.value if pool else None,
                backbone=backbone,
                onnx_output=onnx_output,
                mean=None if mean is None else parse_numbers("--mean", mean),
                std=None if std is None else parse_numbers("--std", std),
                normalize=normalize,
                max_side=max_side,
                limit_pixels=limit_pixels,
                sample=sample,
                ignore=ignore or [],
                workers=workers,
                overwrite=overwrite,
                progress=progress,
            )
    except (errors.EmbedError, errors.MissingExtraError) as error:
        fail(str(error))
    except errors.OutputError as error:
        text = f"cannot write {error.filename}: {error.strerror}"
        fail(f"{text}. What is finished is kept; the same command goes on from there", 3)
    except errors.EmbedInterrupt as error:
        text = f"stopped: {error.finished} of {error.images} images are finished"
        typer.echo(f"{text}; the same command goes on from there", err=True)
        raise typer.Exit(128 + error.signal) from None
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on from what is finished", err=True)
        raise typer.Exit(130) from None
    if not quiet:
        typer.echo(_summary(report))
    _show_failures(report)
    raise typer.Exit(1 if report.failures else 0)


def _summary(report: Report) -> str:
    what = f"{report.output}: {report.rows} rows of {report.length} numbers"
    if not report.changed:
        return f"{what}, up to date: nothing to do"
    rate = report.computed / report.seconds if report.seconds else 0.0
    old = f", {report.reused} of them kept from before" if report.reused else ""
    return f"{what}{old}, in {report.seconds:.1f} s ({rate:.0f} images/s)"


def _show_failures(report: Report) -> None:
    if not report.failures:
        return
    count = len(report.failures)
    images = "1 image failed" if count == 1 else f"{count} images failed"
    typer.echo(f"{images}, listed in {report.failures_file}:", err=True)
    for failure in report.failures[:_SHOWN]:
        typer.echo(f"  {failure.path}: {failure.reason}", err=True)
    if count > _SHOWN:
        typer.echo(f"  and {count - _SHOWN} more", err=True)
    if any(failure.reason.startswith("not an image") for failure in report.failures):
        typer.echo("  (--ignore '*.txt' leaves such files out)", err=True)
