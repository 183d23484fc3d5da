"""Runs, one per method and seed: each is a file, so a comparison goes on where it was stopped.

A result lies under the name of everything that decides it (data, options, method, seed, versions),
and is renamed into place when it is whole. Any two comparisons in one folder share what is the
same, and a longer list of methods or seeds trains only what is new.

Every run has one thread, whatever the number of processes: its numbers do not depend on how many
run at once, and its time is CPU time.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch

from poolwise.compare.dataset import Dataset
from poolwise.compare.methods import Method
from poolwise.compare.options import Options
from poolwise.compare.train import TEST_SCALES, Net, predict, scaled, shifted, train

# Raised by hand when the same options begin to give other numbers.
RECIPE_VERSION = 1
# Shift consistency: predictions at these places against the one at (0, 0), in pixels.
SHIFTS = ((0, 1), (1, 0), (2, 3))
_MARGIN = 3
_SHORTEST_FOR_SHIFTS = 8
# An image passed forward costs about a third of one that is trained on.
_FORWARD = 3


class StoppedError(Exception):
    """Asked to stop between two steps."""


@dataclass(frozen=True)
class Run:
    """One method, one seed, and the name of its result."""

    method: Method
    seed: int
    key: str


@dataclass(frozen=True)
class Result:
    """What one run gave; equal for equal runs but for ``train_seconds``.

    ``predictions`` are class indices of the test images in the order of ``Dataset.test``, at each
    size; ``shift_consistency`` is the share of answers that small translations leave unchanged, or
    None where every image is too small to be shifted. ``weights`` is the digest of the file that
    holds the network.
    """

    method: str
    seed: int
    predictions: dict[str, list[int]]
    shift_consistency: float | None
    losses: list[float]
    train_seconds: float = field(compare=False)
    weights: str = field(compare=False)


def list_runs(data: Dataset, options: Options) -> list[Run]:
    """Seed by seed, so that what is there after an interruption is paired."""
    shared = {
        "recipe": RECIPE_VERSION,
        "data": data.fingerprint(),
        "versions": {name: version(name) for name in ("poolwise", "torch", "numpy")},
        "machine": platform.machine(),
        **{k: v for k, v in asdict(options).items() if k not in ("pools", "seeds")},
    }
    runs = []
    for seed in range(options.seeds):
        for method in options.pools:
            recipe = json.dumps({**shared, "method": str(method), "seed": seed}, sort_keys=True)
            runs.append(Run(method, seed, sha256(recipe.encode()).hexdigest()[:20]))
    return runs


def work_of(data: Dataset, options: Options) -> int:
    """How much one run is, in images trained on, for progress."""
    passes = len(TEST_SCALES) + 1 + len(SHIFTS)
    return options.epochs * len(data.train) + passes * len(data.test) // _FORWARD


def result_file(folder: Path, run: Run) -> Path:
    return folder / f"{run.key}.json"


def weights_file(folder: Path, run: Run) -> Path:
    return folder / f"{run.key}.pt"


def load_result(folder: Path, run: Run) -> Result | None:
    """The kept result of a run, None if there is none that is whole."""
    try:
        fields = json.loads(result_file(folder, run).read_text("utf-8"))
        result = Result(**fields)
        weights = weights_file(folder, run).read_bytes()
    except (OSError, ValueError, TypeError):
        return None
    return result if sha256(weights).hexdigest() == result.weights else None


def load_net(folder: Path, run: Run, data: Dataset, options: Options) -> Net:
    """The trained network of a finished run, on the CPU."""
    net = Net(run.method, len(data.classes), options.width)
    state = torch.load(weights_file(folder, run), map_location="cpu", weights_only=True)
    net.load_state_dict(state)
    return net.eval()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """torch with one thread inside, and as it was afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def carry_out(
    run: Run, data: Dataset, options: Options, folder: Path, advance: Callable[[int], None]
) -> Result:
    """Train, test, and keep the result; ``advance`` is told the work done, and may raise."""
    clock = process_time if options.device == "cpu" else perf_counter

    def forward(images: int) -> None:
        advance(images // _FORWARD)

    with one_thread():
        began = clock()
        net, losses = train(data, run.method, options, run.seed, advance)
        seconds = clock() - began
        predictions = {
            name: predict(net, data, run.method, options, scaled(scale), on_step=forward).tolist()
            for name, scale in TEST_SCALES.items()
        }
        consistency = _shift_consistency(net, data, run.method, options, forward)
    weights = weights_file(folder, run)
    temporary = weights.with_suffix(f".{os.getpid()}.tmp")
    torch.save({k: v.cpu() for k, v in net.state_dict().items()}, temporary)
    digest = sha256(temporary.read_bytes()).hexdigest()
    os.replace(temporary, weights)
    result = Result(str(run.method), run.seed, predictions, consistency, losses, seconds, digest)
    write_atomically(result_file(folder, run), json.dumps(asdict(result)))
    return result


def _shift_consistency(
    net: Net, data: Dataset, method: Method, options: Options, on_step: Callable[[int], None]
) -> float | None:
    large = [i for i in data.test if min(data.images[i].shape[1:]) >= _SHORTEST_FOR_SHIFTS]
    if not large:
        return None
    chosen = np.array(large, np.int64)

    def answers(down: int, right: int) -> Any:
        change = shifted(down, right, _MARGIN)
        return predict(net, data, method, options, change, chosen, on_step)

    here = answers(0, 0)
    return float(np.mean([answers(*shift) == here for shift in SHIFTS]))


def write_atomically(path: Path, text: str) -> None:
    """Whole or not at all, whatever happens meanwhile."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
