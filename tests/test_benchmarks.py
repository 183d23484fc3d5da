"""The benchmark runner on tiny cases: it runs, checks answers, writes tables in the right places.

Nothing here asserts a time.
"""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _benchmarks_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m benchmarks` runs in the root; the package is no part of the installed poolwise."""
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture(autouse=True)
def _threads_restored():
    import poolwise as pw

    before = pw.get_num_threads()
    yield
    pw.set_num_threads(before)


def test_run_prints_tables_and_writes_csv(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.__main__ import main

    output = tmp_path / "out.csv"
    arguments = ["run", "--cases", "tiny", "--peers", "scipy,copy", "--threads", "1,2"]
    assert main([*arguments, "--rounds", "1", "-o", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "| tiny max 3x3/2 pad 1 |" in printed
    assert "forward, 1 thread |" in printed
    assert "backward, 2 threads |" in printed
    assert "ours / copy" in printed
    with output.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["peer"] for row in rows} == {"poolwise", "copy"}
    assert {row["threads"] for row in rows} == {"1", "2"}
    assert all(float(row["best_ms"]) > 0 for row in rows)


def test_every_case_agrees_with_every_peer_that_is_installed() -> None:
    """The cases at a small size, so that a table never fails on its last line after minutes."""
    from benchmarks import cases, peers, runner

    loaded, _ = peers.load(peers.NAMES)
    for case in cases.CASES:
        small = dataclasses.replace(case, shape=(1, 2, 37, 34))
        result = runner.run_case(small, loaded, threads=1, rounds=1)
        assert {"poolwise", "copy"} <= set(result.timings)


def test_a_peer_with_another_answer_is_an_error_not_a_time() -> None:
    from benchmarks import cases, peers, runner

    class Wrong:
        name = "wrong"
        checked = True

        def set_threads(self, threads: int) -> None: ...

        def prepare(self, case, x, grad):
            return peers.Run(lambda: np.zeros(case.shape, x.dtype), lambda y: y)

    loaded, _ = peers.load(())
    with pytest.raises(ValueError, match="wrong and poolwise differ"):
        runner.run_case(cases.TINY[0], [*loaded, Wrong()], 1, 1)


def test_a_peer_that_is_not_installed_is_left_out_with_a_note(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from benchmarks import peers

    monkeypatch.setitem(peers._MODULES, "ghost", ("no_such_package_at_all", "Ghost"))
    loaded, notes = peers.load(("ghost", "copy"))
    assert [peer.name for peer in loaded] == ["poolwise", "copy"]
    assert notes == ["ghost left out: the package no_such_package_at_all is not installed"]


@pytest.mark.parametrize(
    ("option", "value"),
    [("--cases", "nothing"), ("--peers", "nobody"), ("--threads", "0"), ("--threads", "many")],
)
def test_bad_options_are_errors(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.__main__ import main

    assert main(["run", option, value]) == 2
    assert "error:" in capsys.readouterr().err


def test_the_table_goes_between_the_markers() -> None:
    from benchmarks import report

    document = f"before\n{report.START}\nold\n{report.END}\nafter\n"
    replaced = report.replace_between_markers(document, "| new |\n")
    assert replaced == f"before\n{report.START}\n\n| new |\n\n{report.END}\nafter\n"
    assert report.replace_between_markers(replaced, "| new |\n") == replaced
    with pytest.raises(ValueError, match="benchmark:start"):
        report.replace_between_markers("no markers", "")


def test_the_readme_has_the_markers() -> None:
    from benchmarks import report

    report.replace_between_markers((ROOT / "README.md").read_text(encoding="utf-8"), "")


def test_every_case_of_the_default_run_is_named_once() -> None:
    from benchmarks import cases

    names = [case.name for case in cases.CASES]
    assert len(names) == len(set(names))
    assert all(case.padding <= case.kernel // 2 for case in cases.CASES)  # PyTorch's limit
