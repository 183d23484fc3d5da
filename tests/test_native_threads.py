"""Threads: many callers, forks, settings, the end of the process, and what is left after failures.

Whatever could hang or kill runs in a process of its own with a time limit.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import poolwise as pw
from poolwise import _native

RNG = np.random.default_rng(23)
# Large enough that the work is shared out: the core does less than 128 KiB on the calling thread.
X = RNG.standard_normal((4, 16, 120, 130)).astype("f4")
PRELUDE = """
import os, sys, threading, time
import numpy as np, poolwise as pw
from poolwise import _native
x = np.random.default_rng(1).standard_normal((4, 16, 120, 130)).astype("f4")
"""


@pytest.fixture(autouse=True)
def _own_threads() -> Iterator[None]:
    before = pw.get_num_threads()
    pw.set_num_threads(4)
    yield
    pw.set_num_threads(before)


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program that has x and poolwise; a minute is a hang."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("POOLWISE_")}
    # Python 3.12 warns of any fork beside threads, and that is what is tested.
    flags = ["-W", "error", "-W", "ignore:This process:DeprecationWarning"]
    return subprocess.run(
        [sys.executable, *flags, "-c", PRELUDE + textwrap.dedent(code)],
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def printed(code: str, **environment: str) -> str:
    done = run(code, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


def test_many_callers_at_once_get_their_own_answers() -> None:
    windows = [pw.Windows.sliding(k, s, k // 2) for k, s in ((3, 1), (7, 2), (9, 1), (2, 2))]
    windows += [pw.Windows.pyramid((1, 2, 5)), pw.Windows.adaptive(9), pw.Windows.whole()]
    jobs = [(w, r, X[n % 4 :]) for n, w in enumerate(windows) for r in ("max", "mean")]
    expected = [pw.pool(x, w, r) for w, r, x in jobs]

    def worker(turn: int) -> list[int]:
        order = np.random.default_rng(turn).permutation(np.arange(len(jobs)).repeat(3))
        found = ((n, pw.pool(jobs[n][2], *jobs[n][:2])) for n in order)
        return [int(n) for n, y in found if not np.array_equal(y, expected[n])]

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(worker, range(12))) == [[]] * 12


def test_callers_may_change_the_number_of_threads_meanwhile() -> None:
    expected = pw.avg_pool(X, 9, 2, 4)
    over = threading.Event()

    def change() -> None:
        for n in range(200):
            pw.set_num_threads(1 + n % 9)
            time.sleep(0.001)
        over.set()

    changer = threading.Thread(target=change)
    changer.start()
    while not over.is_set():
        assert np.array_equal(pw.avg_pool(X, 9, 2, 4), expected)
    changer.join()


def test_set_num_threads_takes_effect() -> None:
    code = """
        results = []
        for n in (1, 3, 8, 2):
            pw.set_num_threads(n)
            results.append(pw.max_pool(x, 9, 1, 4).tobytes() + pw.avg_pool(x, 9, 1, 4).tobytes())
            print(pw.get_num_threads(), _native.config()["workers_running"])
        print(len(set(results)))
    """
    # Workers stay, so that the next call need not start them again.
    assert printed(code).split("\n") == ["1 0", "3 2", "8 7", "2 7", "1"]


def test_small_calls_start_no_threads() -> None:
    code = "pw.max_pool(x[:1, :1], 3); print(_native.config()['workers_running'])"
    assert printed(code, POOLWISE_NUM_THREADS="4") == "0"


@pytest.mark.parametrize("given", ["3", "1", " 2", "1024", "5000"])
def test_the_environment_sets_the_number_of_threads(given: str) -> None:
    found = printed("print(pw.get_num_threads())", POOLWISE_NUM_THREADS=given)
    assert found == str(min(int(given), 1024))


@pytest.mark.parametrize("given", ["", "0", "-4", "two", "2.5", "3x", "9" * 30])
def test_garbage_in_the_environment_is_a_usable_number_of_threads(given: str) -> None:
    code = """
        y = pw.max_pool(x, 3)
        usual = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
        print(pw.get_num_threads() in (usual, 1024) or not usual, y.shape)
    """
    assert printed(code, POOLWISE_NUM_THREADS=given) == "True (4, 16, 40, 43)"


FORKS = {
    "a child of a child": """
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            good = np.array_equal(pw.avg_pool(x, 9, 1), y)
            pid = os.fork()
            good = good and np.array_equal(pw.avg_pool(x, 9, 1), y)
            if pid:
                good = good and os.waitpid(pid, 0)[1] == 0
            sys.exit(0 if good else 7)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])]
    """,
    "fork while others pool": """
        over = False
        def busy():
            while not over:
                pw.max_pool(x, 5, 1)
        threads = [threading.Thread(target=busy) for _ in range(3)]
        [t.start() for t in threads]
        codes = []
        for _ in range(20):
            pid = os.fork()
            if pid == 0:
                os._exit(0 if np.array_equal(pw.avg_pool(x, 9, 1), y) else 7)
            codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        over = True
        [t.join() for t in threads]
    """,
}


@pytest.mark.parametrize("name", FORKS)
def test_forks(name: str) -> None:
    before = "\ny = pw.avg_pool(x, 9, 1)\n"
    after = "\nprint(set(codes), np.array_equal(pw.avg_pool(x, 9, 1), y))\n"
    code = before + textwrap.dedent(FORKS[name]) + after
    assert printed(code, POOLWISE_NUM_THREADS="4") == "{0} True"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(method: str, tmp_path) -> None:
    program = tmp_path / "program.py"
    body = """
        import multiprocessing as mp
        def work(n):
            return float(pw.avg_pool(x, n, 1).sum()), _native.config()["workers_running"]
        if __name__ == "__main__":
            own = [work(n)[0] for n in range(2, 8)]
            with mp.get_context(sys.argv[1]).Pool(2) as pool:
                theirs = pool.map(work, range(2, 8))
                pool.close()
                pool.join()
            print(own == [t[0] for t in theirs], {t[1] for t in theirs})
    """
    program.write_text(PRELUDE + textwrap.dedent(body))
    done = subprocess.run(
        [sys.executable, str(program), method],
        env=os.environ | {"POOLWISE_NUM_THREADS": "3"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "True {2}", "")


ENDINGS = {
    "at rest": ("", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "an exception": ("raise KeyError('pending')", 1),
    "an exception in a thread's way": ("t = threading.Thread(target=busy); t.start(); 1 / 0", 1),
    "a thread that pools on": ("threading.Thread(target=busy).start()", 0),
    "a daemon thread in a call": ("start_daemon(); time.sleep(0.1)", 0),
    "an exception beside a daemon": ("start_daemon(); time.sleep(0.1); raise KeyError(1)", 1),
    "after shutdown": ("_native.shutdown(); _native.shutdown()", 0),
    "pooling at exit": ("import atexit; atexit.register(lambda: pw.max_pool(x, 3))", 0),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_the_process_ends(name: str) -> None:
    code, status = ENDINGS[name]
    started = """
    def busy(times=20):
        for _ in range(times):
            pw.max_pool(x, 9, 1)
    def start_daemon():
        threading.Thread(target=busy, args=(10**9,), daemon=True).start()
    pw.max_pool(x, 3)
    assert _native.config()["workers_running"] == 3
    """
    done = run(textwrap.dedent(started) + code, POOLWISE_NUM_THREADS="4")
    assert done.returncode == status, done.stderr
    if status != 1:
        assert done.stderr == ""
    else:
        assert done.stderr.rstrip().split("\n")[-1].startswith(("KeyError", "ZeroDivisionError"))


def test_shutdown_and_pooling_again() -> None:
    expected = pw.avg_pool(X, 9, 1)
    assert _native.config()["workers_running"] >= 3
    for _ in range(5):
        _native.shutdown()
        assert _native.config()["workers_running"] == 0
        assert np.array_equal(pw.avg_pool(X, 9, 1), expected)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(pw.avg_pool, X, 9, 1) for _ in range(40)]
        while not all(call.done() for call in calls):
            _native.shutdown()
        assert all(np.array_equal(call.result(), expected) for call in calls)


def test_shutdowns_at_once() -> None:
    code = """
        for _ in range(50):
            pw.max_pool(x, 3)
            threads = [threading.Thread(target=_native.shutdown) for _ in range(4)]
            [t.start() for t in threads]
            [t.join() for t in threads]
        print("done")
    """
    assert printed(code, POOLWISE_NUM_THREADS="8") == "done"


@pytest.mark.parametrize("threads", ["1", "4"])
def test_out_of_memory_is_an_error_that_leaves_all_well(threads: str) -> None:
    found = printed(
        """
        import psutil, resource
        y = pw.avg_pool(x, 9, 1)
        wide = np.zeros((4, 4_000_000), "?")
        wide[:, ::1000] = True
        used = psutil.Process().memory_info().vms
        limits = resource.getrlimit(resource.RLIMIT_AS)
        for _ in range(3):
            resource.setrlimit(resource.RLIMIT_AS, (used + 2**24, limits[1]))
            try:
                pw.adaptive_max_pool(wide, (2,), return_indices=True)
            except MemoryError:
                print("MemoryError")
            resource.setrlimit(resource.RLIMIT_AS, limits)
            print(np.array_equal(pw.avg_pool(x, 9, 1), y))
        print(*pw.adaptive_max_pool(wide, (2,), return_indices=True)[1][3])
        """,
        POOLWISE_NUM_THREADS=threads,
    )
    assert found.split("\n") == ["MemoryError", "True"] * 3 + ["0 2000000"]


def test_other_python_threads_run_during_a_call() -> None:
    x = np.broadcast_to(RNG.standard_normal((1500, 1500)), (60, 1500, 1500))
    pw.set_num_threads(1)
    span: list[float] = []

    def call() -> None:
        span.append(time.perf_counter())
        pw.max_pool(x, 31, 8, return_indices=True)
        span.append(time.perf_counter())

    caller = threading.Thread(target=call)
    caller.start()
    ticks = []
    while caller.is_alive():
        ticks.append(time.perf_counter())
        time.sleep(0.001)
    start, end = span
    quarter = (end - start) / 4
    assert quarter > 0.02, "too short a call to say anything; make x larger"
    assert sum(start + quarter < t < end - quarter for t in ticks) >= 5
