"""The benchmark on small cases: it runs, checks answers, writes tables in the right places.

Nothing here asserts a time. Peers that the test extra does not install are left out, with a note.
"""

from __future__ import annotations

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


def small(case):
    """The same pooling of a map of a few cells, with a border."""
    if case.maps:
        return dataclasses.replace(case, shape=(3, 5, 20, 20), maps=case.maps[:3])
    if max(case.kernel, default=0) > 70:
        return dataclasses.replace(case, shape=(2, 3, 500))
    sizes = {1: (67,), 2: (37, 34) if case.kernel else (36, 36), 3: (9, 12, 10)}
    return dataclasses.replace(case, shape=(2, 3, *sizes[len(case.spatial)]))


def small_cases():
    """Every geometry, dtype, layout and direction of the catalogue, once."""
    from benchmarks import catalogue

    made = (small(case) for case in catalogue.CASES)
    return list(dict.fromkeys(dataclasses.replace(case, size="small", group="-") for case in made))


def result_of(case, threads=2, notes=None, **milliseconds):
    """A hand-made result; `_` in a peer's name stands for a space."""
    from benchmarks.results import Result, Timing

    timings = {
        name.replace("_", " "): Timing(ms / 1e3, ms / 1e3, 3) for name, ms in milliseconds.items()
    }
    return Result(case, threads, "avx2", timings, notes or {})


def case_named(name, group="forward", **fields):
    from benchmarks import catalogue

    wanted = {"layout": "nchw", "dtype": "f32", "size": "cache", **fields}
    (case,) = (
        case
        for case in catalogue.CASES
        if (case.name, case.group) == (name, group)
        and all(getattr(case, key) == value for key, value in wanted.items())
    )
    return case


def test_every_case_has_a_name_of_its_own_and_the_shape_that_its_windows_give() -> None:
    from benchmarks import catalogue
    from benchmarks.peers.ours import windows_of

    assert len({case.id for case in catalogue.CASES}) == len(catalogue.CASES)
    for case in (*catalogue.CASES, *small_cases()):
        counts = windows_of(case).over(case.spatial).output_shape
        if case.levels:
            assert case.output_shape == (case.shape[0], case.shape[1] * counts[0])
        else:
            assert case.output_shape == (*case.shape[:2], *counts)
        assert all(2 * p <= k for k, p in zip(case.kernel, case.padding, strict=True))  # PyTorch's


def test_bytes_moved_are_those_of_input_and_output() -> None:
    stride_2 = case_named("max 2x2/2")
    assert stride_2.bytes_moved == 4 * (8 * 64 * 112 * 112 + 8 * 64 * 56 * 56)
    halves = case_named("avg 2x2/2", "dtypes", dtype="u8")
    assert halves.bytes_moved == 8 * 64 * 112 * 112 + 4 * 8 * 64 * 56 * 56  # means are f32
    with_indices = case_named("max 2x2/2", "argmax")
    assert with_indices.bytes_moved == stride_2.bytes_moved + 8 * with_indices.outputs


def test_every_peer_that_is_installed_agrees_on_every_kind_of_case(monkeypatch) -> None:
    """At small sizes, so that a run never finds out after hours. Compiling takes too long here."""
    from benchmarks import peers, runner

    loaded, notes = peers.load([name for name in peers.NAMES if name not in ("compile", "jax")])
    monkeypatch.setattr(runner, "SETTLE_SECONDS", 0)
    timed = runner.Runner(loaded, "any", rounds=1)
    done = set()
    for case in small_cases():
        result = timed.run(case, threads=1)
        assert result.notes == {}, case.id
        assert {"poolwise", "copy"} <= set(result.timings)
        done |= set(result.timings)
    assert done == {peer.name for peer in loaded}
    assert {"torch NCHW", "torch NHWC", "ONNX Runtime", "SciPy", "scikit-image"} <= done
    assert all("is not installed" in note for note in notes)


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_torch_compile_agrees() -> None:
    from benchmarks import peers, runner

    loaded, _ = peers.load(["compile"])
    result = runner.Runner(loaded, "any", rounds=1).run(small(case_named("max 3x3/2 pad 1")), 1)
    assert set(result.timings) == {"poolwise", "torch.compile"}


class Other:
    """A peer that gives one number for everything."""

    name = "other"
    checked = True
    threads_note = "none"

    def __init__(self, value: float) -> None:
        self.value = value
        self.calls = 0

    def set_threads(self, threads: int) -> None: ...

    def prepare(self, case, arrays):
        from benchmarks import peers

        def call() -> np.ndarray:
            self.calls += 1
            return np.full(case.output_shape, self.value, np.float32)

        return peers.Run(call, lambda y: [y])


def test_a_peer_with_another_answer_gets_a_note_not_a_time() -> None:
    from benchmarks import catalogue, peers, report, runner

    loaded, _ = peers.load(())
    result = runner.Runner([*loaded, Other(0)], "any", 3).run(catalogue.TINY[0], 1)
    assert "other" not in result.timings
    assert result.notes["other"].startswith("another answer: off by")
    assert "other gave another answer" in report.markdown([result], [])


def test_slow_peers_are_called_once_and_hopeless_ones_not_at_all(monkeypatch) -> None:
    from benchmarks import cases, catalogue, peers, runner

    loaded, _ = peers.load(())
    monkeypatch.setattr(runner, "SLOW_SECONDS", 0.0)
    monkeypatch.setattr(runner, "SLOW_TIMES", 0.0)
    result = runner.Runner(loaded, "any", 5).run(catalogue.TINY[0], 1)
    assert result.timings["poolwise"].rounds == 1
    monkeypatch.setattr(cases, "HEAVY_TAPS", 0)
    monkeypatch.setattr(runner, "HOPELESS_SECONDS", 0.0)
    other = Other(0)
    result = runner.Runner([*loaded, other], "any", 5).run(catalogue.TINY[0], 1)
    assert "s a call" in result.notes["other"]
    assert other.calls == 1  # on a part of the case


def test_a_budget_ends_the_rounds() -> None:
    from benchmarks import catalogue, peers, runner

    loaded, _ = peers.load(())
    result = runner.Runner(loaded, "any", 10**6, budget=0.05).run(catalogue.TINY[0], 1)
    assert 1 <= result.timings["poolwise"].rounds < 10**4


def test_a_peer_that_is_not_installed_is_left_out_with_a_note(monkeypatch) -> None:
    from benchmarks import peers

    monkeypatch.setitem(peers._MODULES, "ghost", ("no_such_package_at_all", "Ghost"))
    loaded, notes = peers.load(("ghost", "copy"))
    assert [peer.name for peer in loaded] == ["poolwise", "copy"]
    assert notes == ["ghost left out: the package no_such_package_at_all is not installed"]


def test_targets_are_met_or_missed() -> None:
    from benchmarks.targets import Judge

    case = case_named("max 3x3/1 pad 1")
    judged = [
        (result_of(case, poolwise=1, torch_NCHW=2, copy=0.9), []),
        (result_of(case, poolwise=1, torch_NCHW=1.2, copy=0.8), []),  # as fast as memory
        (result_of(case, poolwise=1, torch_NCHW=1.9, copy=0.7), ["peer", "copy"]),
        (result_of(case, poolwise=1, torch_NCHW=0.9, copy=1), ["never"]),
    ]
    for result, missed in judged:
        assert [verdict.target for verdict in Judge([result]).missed(result)] == missed
    global_mean = case_named("avg global", "bins")
    reader = result_of(global_mean, poolwise=1, torch_NCHW=1.1, copy=1, read=0.5)
    assert [v.target for v in Judge([reader]).missed(reader)] == ["peer"]


def test_targets_that_compare_two_cases() -> None:
    from benchmarks.targets import Judge

    plain = result_of(case_named("max 5x5/1 pad 2"), poolwise=1)
    argmax = result_of(case_named("max 5x5/1 pad 2", "argmax"), poolwise=2.6)
    halves = result_of(case_named("max 5x5/1 pad 2", "dtypes", dtype="f16"), poolwise=0.5)
    slow = result_of(case_named("max 5x5/1 pad 2", "dtypes", dtype="u8"), poolwise=0.5)
    judge = Judge([plain, argmax, halves, slow])
    assert [v.target for v in judge.missed(argmax)] == ["argmax"]
    assert judge.missed(halves) == []
    assert [v.target for v in judge.missed(slow)] == ["bytes"]
    assert [v.target for v in Judge([argmax]).verdicts(argmax)] == []  # nothing to compare with


@pytest.mark.parametrize(
    ("name", "ratio", "met"),
    [
        ("max 3x3/1 pad 1", 2.1, True),
        ("avg 5x5/1 pad 2", 4.9, False),
        ("avg 13x13/1 pad 6", 19.0, False),
        ("avg 13x13/1 pad 6", 21.0, True),
    ],
)
def test_gradients_have_targets_of_their_own(name: str, ratio: float, met: bool) -> None:
    from benchmarks.targets import Judge

    result = result_of(case_named(name, "backward"), poolwise=1, torch_NCHW=ratio)
    assert ("gradient" in [v.target for v in Judge([result]).missed(result)]) is not met


def test_small_calls_cost_no_more_than_torch() -> None:
    from benchmarks.targets import Judge

    case = case_named("max 2x2/2", "small", size="small")
    result = result_of(case, poolwise=1, torch_NCHW=2, torch_NHWC=0.9)
    assert [v.target for v in Judge([result]).missed(result)] == ["never", "small"]


def test_tables_mark_misses_and_count_them() -> None:
    from benchmarks import report

    meets = result_of(case_named("max 3x3/1 pad 1"), poolwise=1, torch_NCHW=2.5, copy=1)
    misses = result_of(case_named("max 5x5/1 pad 2"), poolwise=3, torch_NHWC=2.5, copy=1)
    flat = result_of(case_named("max 31x31/1 pad 15"), poolwise=7, copy=2)
    text = report.markdown([meets, misses, flat], ["a machine"], ["a note"])
    assert "Measured on: a machine." in text
    assert "| max 3x3/1 pad 1 | 1 | 2.5 | torch NCHW | 2.5 | 1 | 1 | ✓ |" in text
    assert "✗ peer 0.83 for 2; never 0.83 for 0.97; copy 3.00 for 2" in text
    assert "| forward: max NCHW cache, 2 threads, avx2 | 2.33 ✗ | - |" in text
    assert "1 of 3 cells meet all their targets: `peer` 1 of 2, `never` 1 of 2" in text
    assert "verdict | torch NHWC | copy |\n" in report.markdown([misses], [], wide=True)


def test_two_threads_are_compared_with_one() -> None:
    from benchmarks import report

    case = case_named("avg 3x3/1 pad 1")
    one, two = result_of(case, 1, poolwise=3), result_of(case, 2, poolwise=2)
    assert "| 3 | 2 | 1.5 ✗ |" in report.scaling([one, two])


def test_csv_keeps_results_and_files_merge(tmp_path: Path) -> None:
    from benchmarks.results import read_csv, write_csv

    first = result_of(case_named("max 2x2/2"), poolwise=1, copy=2, notes={"JAX": "about 30 s"})
    other = result_of(case_named("avg 2x2/2"), poolwise=3)
    again = result_of(case_named("max 2x2/2"), poolwise=4)
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    write_csv(one, [other, first], ["machine A"])
    write_csv(two, [again], ["machine B"])
    assert read_csv([one]) == ([first, other], ["machine A"])  # in the catalogue's order
    assert read_csv([one, two]) == ([again, other], ["machine A", "machine B"])
    (tmp_path / "else.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"else\.csv is no file of"):
        read_csv([tmp_path / "else.csv"])


def test_run_table_and_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.__main__ import main

    output = tmp_path / "out.csv"
    run = ["run", "--cases", "tiny", "--peers", "torch,copy", "--threads", "1,2", "--rounds", "1"]
    assert main([*run, "-o", str(output)]) == 0
    said = capsys.readouterr()
    assert "| tiny, f32, NCHW, small, 1 thread," in said.out
    assert "| tiny, backward, f32, NCHW, small, 2 threads," in said.out
    assert "torch NCHW: threads by `torch.set_num_threads`" in said.err
    timed = output.read_text(encoding="utf-8")
    assert main([*run, "-o", str(output), "--resume"]) == 0
    assert "[1/2]" not in capsys.readouterr().err
    assert output.read_text(encoding="utf-8") == timed
    assert main(["table", str(output), "--wide"]) == 0
    assert "| max 3x3/2 pad 1 |" in capsys.readouterr().out


def test_check_fails_where_a_peer_is_faster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.__main__ import main
    from benchmarks.results import write_csv

    case = case_named("max 3x3/1 pad 1")
    for milliseconds, code in ((1.0, 0), (0.9, 1)):
        path = tmp_path / "out.csv"
        write_csv(path, [result_of(case, poolwise=1, torch_NCHW=milliseconds)], [])
        assert main(["table", str(path), "--check"]) == code
    assert "slower than torch NCHW: forward|max 3x3/1 pad 1" in capsys.readouterr().err
    write_csv(path, [result_of(case_named("avg global", "bins"), poolwise=1)], [])
    assert main(["table", str(path), "--check"]) == 2


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *(("--cases", "nothing"), ("--peers", "nobody"), ("--threads", "0")),
        *(("--threads", "many"), ("--size", "huge"), ("--rounds", "0"), ("--budget", "0")),
    ],
)
def test_bad_options_are_errors(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.__main__ import main

    assert main(["run", option, value]) == 2
    assert "error:" in capsys.readouterr().err


def test_documents_are_written_between_their_markers(tmp_path: Path, monkeypatch) -> None:
    from benchmarks import documents, report

    results = [
        result_of(case_named("max 3x3/1 pad 1"), poolwise=1, torch_NCHW=3, copy=1),
        result_of(case_named("avg 3x3/1 pad 1", "backward"), poolwise=1, torch_NCHW=9),
    ]
    for name, marker in (("README", "benchmark"), ("SPEED", "speed")):
        path = tmp_path / name
        path.write_text("before\n{}\nold\n{}\nafter\n".format(*report.markers(marker)))
        monkeypatch.setattr(documents, name, path)
    documents.readme(results, ["a machine"])
    documents.speed(results, ["a machine"])
    readme, speed = ((tmp_path / name).read_text() for name in ("README", "SPEED"))
    assert "| max 3x3/1 pad 1 |" in readme
    assert "backward" not in readme
    assert speed.index("## Forward, sliding windows") < speed.index("## Backward")
    assert "## Instructions per output" in speed
    assert readme.startswith("before\n")
    assert speed.endswith("\nafter\n")
    with pytest.raises(ValueError, match="no case of the README"):
        documents.readme(results[1:], [])


def test_the_documents_have_the_markers() -> None:
    from benchmarks import documents, report

    report.replace_between_markers(documents.README.read_text(encoding="utf-8"), "")
    report.replace_between_markers(documents.SPEED.read_text(encoding="utf-8"), "", "speed")
    with pytest.raises(ValueError, match="benchmark:start"):
        report.replace_between_markers("no markers", "")


def test_every_group_has_a_section() -> None:
    from benchmarks import catalogue, documents

    shown = [group for _, groups in documents.SECTIONS for group in groups]
    assert sorted(shown) == sorted(catalogue.GROUPS)


def test_instruction_counts_may_grow_by_five_percent() -> None:
    from benchmarks.instructions import growth

    assert growth({"max": 10.4, "avg": 5}, {"max": 10, "avg": 6}) == []
    assert growth({"max": 10.6}, {"max": 10}) == [
        "max: 10.6 instructions per output, 10 stored",
    ]
    assert growth({"max": 1}, {}) == [
        "max: nothing stored to compare with; run with --save first",
    ]
