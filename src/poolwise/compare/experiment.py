"""`compare`: from images and a list of poolings to a folder with the answers."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from poolwise.compare import export, report, schedule
from poolwise.compare.builtin import BUILT_IN
from poolwise.compare.costs import measure
from poolwise.compare.dataset import Dataset
from poolwise.compare.errors import CompareError
from poolwise.compare.folder import read_folder
from poolwise.compare.methods import DEFAULT_POOLS, Method
from poolwise.compare.options import Options, make_options
from poolwise.compare.progress import Progress
from poolwise.compare.runs import Result, list_runs, load_net, write_atomically
from poolwise.compare.summary import Comparison, summarise, to_csv

# The mark by which a folder is known as ours; everything else in it may be the user's.
RUNS_FOLDER = "runs"
MAX_SIDE = 128


@dataclass(frozen=True)
class Outcome:
    """What :func:`compare` did: the answers, the folder they are in, and the data's failures."""

    comparison: Comparison
    output: Path
    failures: tuple[tuple[str, str], ...]
    seconds: float


def compare(
    data: str | os.PathLike[str] | Dataset = "textures",
    output: str | os.PathLike[str] = "poolwise-compare",
    *,
    pools: str | tuple[Method, ...] = DEFAULT_POOLS,
    preset: str = "standard",
    seeds: int | None = None,
    epochs: int | None = None,
    width: int | None = None,
    batch: int = 8,
    learning_rate: float = 5e-3,
    device: str = "cpu",
    max_side: int = MAX_SIDE,
    split_seed: int = 0,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Outcome:
    """Train one network with each pooling on the same images and say what difference it makes.

    Parameters
    ----------
    data : path, "textures", "digits", or Dataset
        A folder of class folders, or a built-in set.
    output : path
        A folder, made if needed: ``report.html``, ``results.csv``, ``results.json``, ``best.pt``,
        ``best.onnx``, and ``runs/`` with what is kept to go on from.
    pools : str or tuple of Method
        See :func:`poolwise.compare.parse_pools`; the first is the baseline.
    preset : {"quick", "standard", "thorough"}
        Seeds, epochs and width that are not given.
    seeds : int
        Trainings per method, each with other weights and another order.
    epochs, width, batch, learning_rate, device
        Of the training; ``width`` is the channels of the first convolution.
    max_side : int
        Longer images of a folder are shrunk to it; 0 never.
    split_seed : int
        Draws the test images of a folder without ``test/``.
    jobs : int
        Runs at the same time, each a process with one thread. More than one needs a main module
        that can be imported, as `multiprocessing` does.
    progress : Progress, optional

    Returns
    -------
    Outcome

    Raises
    ------
    CompareError
        If it cannot be carried out as asked; nothing has been trained.
    CompareInterrupt
        After Ctrl-C; finished runs are kept, and the same call goes on.
    """
    began = time.monotonic()
    progress = progress or Progress()
    options = make_options(
        pools=pools,
        preset=preset,
        seeds=seeds,
        epochs=epochs,
        width=width,
        batch=batch,
        learning_rate=learning_rate,
        device=device,
    )
    for name, value, least in (("jobs", jobs, 1), ("max_side", max_side, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise CompareError(f"{name} must be a whole number of at least {least}, not {value!r}")
    folder = _output_folder(Path(output))
    if not isinstance(data, Dataset):
        data = _load(data, max_side, split_seed, progress)
    runs = list_runs(data, options)
    kept = folder / RUNS_FOLDER
    _make(kept)
    if device != "cpu":
        jobs = 1  # one card
    flat = schedule.carry_out_all(runs, data, options, kept, jobs=jobs, progress=progress)
    results = [[r for r in flat if r.method == str(method)] for method in options.pools]
    comparison = _answer(data, options, kept, results)
    comparison = _write(folder, data, options, comparison, results)
    return Outcome(comparison, folder, data.failures, time.monotonic() - began)


def _load(
    data: str | os.PathLike[str], max_side: int, split_seed: int, progress: Progress
) -> Dataset:
    """A folder wins over a built-in set of its name only when it is spelled as a path."""
    name = os.fspath(data)
    if name in BUILT_IN:
        return BUILT_IN[name]()
    path = Path(name)
    if not path.exists():
        known = " or ".join(BUILT_IN)
        raise CompareError(
            f"{name} does not exist. Give a folder with a folder of images per class, or {known}"
        )
    return read_folder(path, max_side=max_side, split_seed=split_seed, progress=progress.reading)


def _output_folder(folder: Path) -> Path:
    """Refuse to write among files that are not ours."""
    if folder.exists() and not folder.is_dir():
        raise CompareError(f"the output {folder} is a file; a folder is wanted")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / RUNS_FOLDER).is_dir():
        raise CompareError(
            f"{folder} holds files that are not of poolwise compare: choose another output, -o"
        )
    return folder


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CompareError(f"cannot write {folder}: {error.strerror}") from None


def _answer(data: Dataset, options: Options, kept: Path, results: list[list[Result]]) -> Comparison:
    first = {run.method: run for run in list_runs(data, replace(options, seeds=1))}
    nets = [load_net(kept, first[method], data, options) for method in options.pools]
    costs = measure(options.pools, nets, data, options)
    setup: dict[str, Any] = {k: v for k, v in asdict(options).items() if k != "pools"}
    setup["versions"] = {name: version(name) for name in ("poolwise", "torch", "numpy", "scipy")}
    setup["python"] = platform.python_version()
    setup["machine"] = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return summarise(data, options, results, costs, setup)


def _write(
    folder: Path,
    data: Dataset,
    options: Options,
    comparison: Comparison,
    results: list[list[Result]],
) -> Comparison:
    """Every file whole or not at all; those of an earlier comparison are replaced."""
    best_method = comparison.rows[comparison.best].method
    runs = list_runs(data, options)
    best = next(r for r in runs if (r.method, r.seed) == (best_method, comparison.best_seed))
    net = load_net(folder / RUNS_FOLDER, best, data, options)
    with _moved_to(folder / "best.pt") as path:
        export.save_model(path, net, best, data, options)
    with _moved_to(folder / "best.onnx") as path:
        export.save_onnx(path, net, best, data)
        difference = export.largest_difference(path, net)
    comparison = replace(comparison, onnx_difference=difference)
    write_atomically(folder / "results.csv", to_csv(comparison, results))
    write_atomically(folder / "results.json", comparison.to_json())
    first = next(run for run in runs if run.method == options.pools[0])
    shown = load_net(folder / RUNS_FOLDER, first, data, options)
    write_atomically(folder / "report.html", report.render(comparison, data, options, shown))
    return comparison


@contextmanager
def _moved_to(path: Path) -> Iterator[Path]:
    """A name to write under; the file is moved to ``path`` if nothing went wrong."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
