"""Instruction sets and thread counts: the one asked for runs, and all of them give the same bits.

FAISS once dispatched to scalar code for years, and no test saw it, because scalar equals scalar.
So the kernels report the flags they were really compiled with, and that is what is asked here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import poolwise as pw

GRID, LONE_NAN = (Path(__file__).with_name(name) for name in ("_grid.py", "_lone_nan.py"))
LEVELS: list[str] = pw.show_config()["isas_available"]
THREADS = ["1", "2", "3", "8"]
ASK = """
import numpy as np, poolwise as pw
from poolwise import _native
before = _native.last_isa()
pw.max_pool(np.ones((64, 64)), 3)
print(before, _native.config()["isa"], _native.last_isa(), pw.show_config()["isa"], sep=",")
"""


def environment(level: str | None) -> dict[str, str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("POOLWISE_")}
    return inherited if level is None else {**inherited, "POOLWISE_ISA": level}


def asked(level: str | None) -> list[str]:
    """Return what a process started with POOLWISE_ISA=level says: before a call, then after."""
    command = [sys.executable, "-W", "error", "-c", ASK]
    return subprocess.check_output(command, env=environment(level), text=True).strip().split(",")


@pytest.fixture(scope="module")
def grids() -> dict[str, dict[str, Any]]:
    """What _grid.py finds on each level; the levels run at the same time."""
    command = [sys.executable, "-W", "error", str(GRID), *THREADS]
    running = {
        level: subprocess.Popen(command, env=environment(level), text=True, stdout=subprocess.PIPE)
        for level in LEVELS
    }
    printed = {level: process.communicate()[0] for level, process in running.items()}
    assert {level: process.returncode for level, process in running.items()} == dict.fromkeys(
        LEVELS, 0
    )
    return {level: json.loads(text) for level, text in printed.items()}


def test_levels_begin_with_the_baseline() -> None:
    assert LEVELS[0] == "baseline"
    assert len(set(LEVELS)) == len(LEVELS)
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    if " avx2 " in flags:
        assert "avx2" in LEVELS


@pytest.mark.parametrize("level", LEVELS)
def test_the_level_asked_for_runs(level: str) -> None:
    assert asked(level) == ["", level, level, level]


@pytest.mark.parametrize("level", [None, "", "pentium", "AVX2", "avx1024"])
def test_any_other_level_falls_back_to_the_best_and_says_so(level: str | None) -> None:
    assert asked(level) == ["", LEVELS[-1], LEVELS[-1], LEVELS[-1]]


@pytest.mark.parametrize("level", LEVELS)
def test_the_grid_ran_on_its_level(grids: dict[str, dict[str, Any]], level: str) -> None:
    assert grids[level]["isas"] == [level, level]
    digests = grids[level]["digests"]
    assert len(digests) > 500
    # Different inputs, different answers: the hash does see them.
    assert len({per_thread[0] for per_thread in digests.values()}) > 0.98 * len(digests)


@pytest.mark.parametrize("level", LEVELS)
def test_thread_counts_give_the_same_bits(grids: dict[str, dict[str, Any]], level: str) -> None:
    found = grids[level]["digests"]
    assert [name for name, digests in found.items() if len(set(digests)) > 1] == []


@pytest.mark.parametrize("level", LEVELS[1:])
def test_levels_give_the_same_bits(grids: dict[str, dict[str, Any]], level: str) -> None:
    expected, found = grids[LEVELS[0]]["digests"], grids[level]["digests"]
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []


@pytest.mark.parametrize("level", LEVELS)
def test_no_nan_is_lost_that_is_the_only_one(level: str) -> None:
    command = [sys.executable, str(LONE_NAN)]
    lost = subprocess.check_output(command, env=environment(level), text=True).splitlines()
    assert lost == []
