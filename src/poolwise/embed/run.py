"""``embed``: the whole job, in the order in which it happens."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from poolwise.embed.backbones import Backbone, identity, load_backbone
from poolwise.embed.decode import quiet_pillow
from poolwise.embed.errors import EmbedError, EmbedInterrupt
from poolwise.embed.interrupt import StopSignals
from poolwise.embed.options import DEFAULT_LIMIT_PIXELS, Level, Options, make_options
from poolwise.embed.pipeline import Failed, feature_maps, vectors
from poolwise.embed.report import Failure, Progress, Report, failures_csv
from poolwise.embed.sample import sample_images
from poolwise.embed.sources import ImageFile, list_images
from poolwise.embed.store import Store


def embed(
    sources: Iterable[str | os.PathLike[str]] | str | os.PathLike[str] = (),
    output: str | os.PathLike[str] = "vectors.parquet",
    *,
    levels: Sequence[Level] = (1, 2, 4),
    pool: str | None = None,
    backbone: str = "gradients",
    onnx_output: str | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    normalize: bool = False,
    max_side: int | None = None,
    limit_pixels: int = DEFAULT_LIMIT_PIXELS,
    sample: bool = False,
    ignore: Sequence[str] = (),
    workers: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Turn images of any size into vectors of one length, in a Parquet or npz file.

    Each image is decoded, shrunk to ``max_side``, turned into a feature map of (C, h, w) by the
    backbone and pooled over a spatial pyramid into C · Σ bins numbers. The rows are in the order
    of the images. Interrupted by anything, the same call resumes, and gives the same file.

    Parameters
    ----------
    sources : path or iterable of path
        Files, folders (with everything below them, except hidden files) and globs. Each image is
        taken once.
    output : path
        A name ending in ``.parquet`` or ``.npz``. Columns: path (bytes that are not UTF-8 written
        as ``\\xe9``), width, height (of the image as shown, before shrinking), vector (float32).
    levels : sequence of int or (rows, columns)
        Grids of the pyramid.
    pool : {"max", "mean"}, optional
        What is made of a bin; by default ``mean`` for ``gradients`` (PHOG) and ``max`` for
        ``onnx`` (SPP-net).
    backbone : str
        ``gradients``, or ``onnx:FILE`` for a CNN with free height and width.
    onnx_output : str, optional
        A feature map inside the model, by name, instead of its output.
    mean, std : one or three floats, optional
        An ONNX model sees ``(rgb − mean) / std`` with rgb in [0, 1]; by default ImageNet's.
    normalize : bool
        Scale each vector to length 1 (L2).
    max_side : int, optional
        Larger images are shrunk until the longer side is this; 0 for never. By default 256 for
        ``gradients``, 512 for ``onnx``. Small images are never enlarged.
    limit_pixels : int
        An image of more pixels is reported as failed, undecoded.
    sample : bool
        Add the photographs that scikit-image carries, at three sizes each.
    ignore : sequence of str
        Globs of names or paths to leave out of folders and globs.
    workers : int, optional
        Images decoded at the same time; by default as many as there are cores.
    overwrite : bool
        Replace an output that other options made. Without it that is an error. Finished work of
        the same options is kept either way.
    progress : Progress, optional
        Told what happens.

    Returns
    -------
    Report
        Counts and failures. Images that fail do not raise: they are listed here and in
        ``OUTPUT.failures.csv``, and are tried again by the next call.

    Raises
    ------
    EmbedError
        (a ValueError) If the call cannot be carried out: no images, a bad option, an unusable
        model, an output made with other options.
    OutputError
        (an OSError) If the output cannot be written, e.g. on a full disk. Finished work is kept.
    EmbedInterrupt
        (a KeyboardInterrupt) On Ctrl-C or SIGTERM. Finished work is kept; if there was no output
        before, one is made of the rows there are, marked incomplete.

    Examples
    --------
    >>> import tempfile
    >>> from poolwise.embed import embed
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     report = embed(output=f"{folder}/vectors.parquet", sample=True, levels=(1, 2))
    >>> report.rows, report.length  # 20 photographs, 3 sizes; 14 channels, 1 + 4 bins
    (60, 70)
    """
    started = time.monotonic()
    progress = progress or Progress()
    options = make_options(
        levels=levels,
        pool=pool,
        backbone=backbone,
        onnx_output=onnx_output,
        mean=mean,
        std=std,
        normalize=normalize,
        max_side=max_side,
        limit_pixels=limit_pixels,
    )
    if workers is not None and workers < 1:
        raise EmbedError(f"workers must be at least 1: not {workers}")
    if isinstance(sources, str | os.PathLike):
        sources = [sources]
    sources = list(sources)
    if not sources and not sample:
        raise EmbedError("no images: name files, folders or globs, or ask for the sample")
    store = Store(Path(output), options.recipe(identity(options)), _made_by())
    images = list_images(sources, output=store.output, ignore=ignore)
    images += sample_images() if sample else []
    if not images:
        raise EmbedError(f"no images found in {', '.join(str(source) for source in sources)}")
    store.inspect(overwrite=overwrite)
    work = _Work(store, options, images, progress, workers or _cores(), started)
    if store.is_current(work.stamps, failures=0):
        return work.report((), reused=len(images), changed=False)
    # before anything is written: an unusable model leaves nothing behind
    model = load_backbone(options) if work.missing() else None
    with quiet_pillow(), StopSignals() as signals, closing(store):
        store.begin(overwrite=overwrite)
        return work.run(model, signals)


class _Work:
    """One run: the images that lack a row go through the pipeline, then all rows are merged."""

    def __init__(
        self,
        store: Store,
        options: Options,
        images: list[ImageFile],
        progress: Progress,
        workers: int,
        started: float,
    ) -> None:
        self.store = store
        self.options = options
        self.images = images
        self.stamps = [image.stamp() for image in images]
        self.progress = progress
        self.workers = workers
        self.started = started

    def missing(self) -> list[ImageFile]:
        """Images that have no row yet, in order."""
        pairs = zip(self.images, self.stamps, strict=True)
        return [image for image, stamp in pairs if not self.store.has(stamp)]

    def run(self, backbone: Backbone | None, signals: StopSignals) -> Report:
        missing = self.missing()
        reused = len(self.images) - len(missing)
        self.progress.start(len(self.images), reused)
        failures = list(self._pipeline(missing, backbone, signals)) if backbone else []
        self.store.flush()
        order = {image: i for i, image in enumerate(self.images)} if failures else {}
        failures.sort(key=lambda failed: order[failed.image])
        if failures:
            self.store.write_text(self.store.failures_file, failures_csv(failures))
        finished = [stamp for stamp in self.stamps if self.store.has(stamp)]
        if signals.signal is not None:
            self._stop(signals.signal, finished, failures)
        changed = not self.store.is_current(finished, failures=len(failures))
        if changed:
            self.store.merge(finished, complete=True, failures=len(failures))
        if not failures:
            self.store.remove_old_failures()
        self.store.clear()
        return self.report(failures, reused=reused, changed=changed)

    def _pipeline(
        self, images: list[ImageFile], backbone: Backbone, signals: StopSignals
    ) -> Iterator[Failed]:
        """Store the rows, hand out the failures."""
        if self.store.length is None and backbone.channels is not None:
            self.store.length = backbone.channels * self.options.bins
        maps = feature_maps(
            images, backbone, self.options, workers=self.workers, stopped=signals.stopped
        )
        with closing(maps):  # a full disk ends the workers at once, not at some collection
            for result in vectors(maps, self.options, length=self.store.length):
                if isinstance(result, Failed):
                    self.progress.advance(1, failed=True)
                    yield result
                else:
                    self.store.add(result)
                    self.progress.advance(len(result))

    def _stop(self, signal: int, finished: list[bytes], failures: list[Failed]) -> None:
        """Leave a whole file of what there is, unless a whole file of more is there already."""
        previous = self.store.previous
        ours = previous is not None and not previous.metadata["complete"]
        if finished and (ours or not self.store.output.exists()):
            self.store.merge(finished, complete=False, failures=len(failures))
        raise EmbedInterrupt(signal, len(finished), len(self.images))

    def report(self, failures: Sequence[Failed], *, reused: int, changed: bool) -> Report:
        return Report(
            output=self.store.output,
            rows=len(self.images) - len(failures),
            length=self.store.length or 0,
            reused=reused,
            failures=tuple(Failure(failed.image.name, failed.reason) for failed in failures),
            failures_file=self.store.failures_file if failures else None,
            seconds=time.monotonic() - self.started,
            changed=changed,
        )


def _cores() -> int:
    """Cores this process may use: containers and batch systems often grant fewer than exist."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _made_by() -> dict[str, Any]:
    versions = {}
    for package in ("poolwise", "numpy", "pillow", "onnxruntime"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"made_by": "poolwise embed", "versions": versions}
