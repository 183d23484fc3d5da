"""All runs of a comparison, several processes at once, and how they are stopped.

Processes rather than threads: a small network's steps are mostly Python. They are started afresh
(spawned), as torch's threads do not survive a fork. Ctrl-C reaches every process of a terminal, so
workers are born deaf to it; the parent hears it and sets an event that they look at after every
step.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from poolwise.compare.dataset import Dataset
from poolwise.compare.errors import CompareError, CompareInterrupt
from poolwise.compare.options import Options
from poolwise.compare.progress import Progress
from poolwise.compare.runs import Result, Run, StoppedError, carry_out, load_result, work_of
from poolwise.embed.interrupt import StopSignals

_TICK = 0.1
_REPORT_SECONDS = 0.2


def carry_out_all(
    runs: Sequence[Run],
    data: Dataset,
    options: Options,
    folder: Path,
    *,
    jobs: int,
    progress: Progress,
) -> list[Result]:
    """The results of ``runs`` in their order: kept ones from ``folder``, the others made now.

    Raises
    ------
    CompareInterrupt
        If a signal came; every run that was finished is kept.
    CompareError
        If a worker process was killed (by a system that ran out of memory, most likely).
    """
    results = {run: load_result(folder, run) for run in runs}
    missing = [run for run in runs if results[run] is None]
    progress.start(len(runs), len(runs) - len(missing), len(missing) * work_of(data, options))

    def keep(run: Run, result: Result) -> None:
        results[run] = result
        wrong = np.array(result.predictions["native"]) != data.labels[data.test]
        progress.finished(result.method, result.seed, float(wrong.mean()))

    with StopSignals() as stop:
        try:
            if jobs > 1 and len(missing) > 1:
                _in_processes(missing, data, options, folder, jobs, stop, keep, progress)
            else:
                _here(missing, data, options, folder, stop, keep, progress)
        except StoppedError:
            finished = sum(result is not None for result in results.values())
            number = stop.signal or signal.SIGINT
            raise CompareInterrupt(number, finished, len(runs)) from None
    return [result for run in runs if (result := results[run]) is not None]


Keep = Callable[[Run, Result], None]


def _here(
    runs: Sequence[Run],
    data: Dataset,
    options: Options,
    folder: Path,
    stop: StopSignals,
    keep: Keep,
    progress: Progress,
) -> None:
    def advance(work: int) -> None:
        if stop.stopped():
            raise StoppedError
        progress.advance(work)

    for run in runs:
        keep(run, carry_out(run, data, options, folder, advance))


def _in_processes(
    runs: Sequence[Run],
    data: Dataset,
    options: Options,
    folder: Path,
    jobs: int,
    stop: StopSignals,
    keep: Keep,
    progress: Progress,
) -> None:
    spawn = multiprocessing.get_context("spawn")
    stopping, work = spawn.Event(), spawn.SimpleQueue()
    shared = (data, options, folder, stopping, work)
    workers = ProcessPoolExecutor(min(jobs, len(runs)), spawn, _begin, shared)
    try:
        with _deaf_children():
            waiting = {workers.submit(_work, run): run for run in runs}
        while waiting:
            done, _ = wait(waiting, _TICK, FIRST_COMPLETED)
            while not work.empty():
                progress.advance(work.get())
            for future in done:
                keep(waiting.pop(future), future.result())
            if stop.stopped():
                raise StoppedError
    except BrokenProcessPool:
        raise CompareError(
            "a training process was killed, most likely because memory ran out: fewer --jobs, a "
            "smaller --batch or --max-side need less. Finished runs are kept"
        ) from None
    finally:
        stopping.set()
        workers.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Processes started inside are never interrupted; for this one the signal only waits."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# What a worker process was given when it started.
_given: tuple[Dataset, Options, Path, Any, Any] | None = None


def _begin(data: Dataset, options: Options, folder: Path, stopping: Any, work: Any) -> None:
    global _given
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _given = data, options, folder, stopping, work


def _work(run: Run) -> Result:
    assert _given is not None
    data, options, folder, stopping, work = _given
    done, told = 0, time.monotonic()

    def advance(more: int) -> None:
        nonlocal done, told
        if stopping.is_set():
            raise StoppedError
        done += more
        if time.monotonic() - told >= _REPORT_SECONDS:
            work.put(done)
            done, told = 0, time.monotonic()

    result = carry_out(run, data, options, folder, advance)
    work.put(done)
    return result
