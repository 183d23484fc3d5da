"""Whole networks and PyTorch's calls: the models are their papers', differences raise, misses show.

`accelerate` and the functions of `poolwise.torch` are fakes here: it is the benchmark that is
tested. Nothing asserts a time.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.overrides import TorchFunctionMode

ROOT = Path(__file__).resolve().parent.parent

# Each network's output at its own size, and its poolings in the order of their calls.
MAX = "max_pool2d"
EXPECTED = {
    "SqueezeNet 1.1": ((1000,), [(MAX, 3, 2, 0, True)] * 3 + ["global"]),
    "GoogLeNet": (
        (1000,),
        [(MAX, 3, 2, 0, True)] * 2
        + [(MAX, 3, 1, 1, False)] * 2
        + [(MAX, 3, 2, 0, True)]
        + [(MAX, 3, 1, 1, False)] * 5
        + [(MAX, 3, 2, 0, True)]
        + [(MAX, 3, 1, 1, False)] * 2
        + ["global"],
    ),
    "Inception-v3 pool branch": ((64, 35, 35), [("avg_pool2d", 3, 1, 1, False)]),
    "Inception-v3 pool branch, pooling only": ((288, 35, 35), [("avg_pool2d", 3, 1, 1, False)]),
    "ResNet-18 stem": ((64, 56, 56), [(MAX, 3, 2, 1, False)]),
    "VGG-11 block": ((128, 56, 56), [(MAX, 2, 2, 0, False)]),
    "AlexNet features": ((256, 6, 6), [(MAX, 3, 2, 0, False)] * 3),
    "YOLO SPP block": ((512, 20, 20), [(MAX, k, 1, k // 2, False) for k in (5, 9, 13)]),
    "YOLO SPPF block": ((512, 20, 20), [(MAX, 5, 1, 2, False)] * 3),
    "3-D U-Net level": ((32, 16, 16, 16), [("max_pool3d", 2, 2, 0, False)]),
}
NAMES = tuple(EXPECTED)


@pytest.fixture(autouse=True)
def _benchmarks_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m benchmarks` runs in the root; the package is no part of the installed poolwise."""
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture(autouse=True)
def _threads_restored():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Poolings(TorchFunctionMode):
    """Writes down the pooling calls made under it, as (name, kernel, stride, padding, ceil)."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[object] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        named = dict(zip(("x", "kernel_size", "stride", "padding"), args, strict=False))
        named |= kwargs or {}
        if func in (F.adaptive_avg_pool2d, F.adaptive_max_pool2d):
            assert args[1] == 1
            self.seen.append("global")
        elif func.__name__ in ("max_pool2d", "avg_pool2d", "max_pool3d"):
            keys = ("kernel_size", "stride", "padding")
            call = tuple(named.get(key, 0) for key in keys)
            self.seen.append((func.__name__, *call, named.get("ceil_mode", False)))
        return func(*args, **(kwargs or {}))


def small(name: str):
    """The network on inputs that take milliseconds."""
    from benchmarks.networks import catalogue

    (network,) = (network for network in catalogue.NETWORKS if network.name == name)
    side = 64 if network.shape[0] == 3 else 8
    return dataclasses.replace(network, shape=(network.shape[0], *(side,) * len(network.shape[1:])))


def setting(batch=1, layout="nchw", mode="inference", threads=1):
    from benchmarks.networks.catalogue import Setting

    return Setting(batch, layout, mode, threads)


def same(model: nn.Module) -> nn.Module:
    return model


def row_of(name: str, ratio: float, **chosen: object):
    """A row as if it had been measured, in which PyTorch took `ratio` times as long."""
    from benchmarks.networks.runner import Row
    from benchmarks.paired import Samples

    return Row(
        small(name),
        setting(**chosen),
        torch=Samples(tuple(ratio * t for t in (0.010, 0.011, 0.030))),
        poolwise=Samples((0.010, 0.011, 0.030)),
    )


def test_every_network_of_the_catalogue_is_expected_here() -> None:
    from benchmarks.networks import catalogue

    assert tuple(network.name for network in catalogue.NETWORKS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_network_is_that_of_its_paper(name: str) -> None:
    from benchmarks.networks import catalogue

    (network,) = (network for network in catalogue.NETWORKS if network.name == name)
    model = network.build().eval()
    with torch.inference_mode(), Poolings() as poolings:
        output = model(torch.randn(1, *network.shape))
    shape, expected = EXPECTED[name]
    assert output.shape == (1, *shape)
    assert poolings.seen == expected
    # An output that is constant, vanishes or overflows would agree with a wrong one.
    assert 0.1 < output.std() < 100


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("SqueezeNet 1.1", 1_235_496),
        # Caffe's, which has a bias per channel where batch norm has two numbers.
        ("GoogLeNet", 6_998_552 + 7_280),
    ],
)
def test_the_number_of_weights_is_the_published_one(name: str, weights: int) -> None:
    assert sum(p.numel() for p in small(name).build().parameters()) == weights


def test_weights_are_the_same_each_time_and_leave_the_global_generator_alone() -> None:
    network = small("SqueezeNet 1.1")
    before = torch.get_rng_state()
    one, other = network.build().state_dict(), network.build().state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("layout", ["nchw", "channels_last"])
def test_every_network_runs_in_both_layouts_and_modes(name: str, layout: str) -> None:
    from benchmarks.networks import runner

    for mode in ("inference", "training"):
        chosen = setting(2, layout, mode)
        row = runner.run_row(small(name), chosen, same, rounds=1, seconds=0.001)
        assert row.ratio.paired > 0


def test_the_layout_reaches_inputs_and_weights() -> None:
    from benchmarks.networks import runner

    for name, memory in (
        ("YOLO SPP block", torch.channels_last),
        ("3-D U-Net level", torch.channels_last_3d),
    ):
        step, _ = runner.prepare(small(name), setting(2, "channels_last", "training"), same)
        kernels = [p for p in step.model.parameters() if p.dim() > 1]
        assert all(t.is_contiguous(memory_format=memory) for t in (step.x, *kernels))


def test_a_training_step_has_all_gradients_of_one_step() -> None:
    from benchmarks.networks import runner

    step, _ = runner.prepare(small("3-D U-Net level"), setting(mode="training"), same)
    step()
    answers = step.answers()  # a second step: gradients must not have added up
    leaves = ("input", "conv.weight", "conv.bias")
    assert set(answers) == {"output", *(f"gradient of {leaf}" for leaf in leaves)}
    x = step.x.detach().clone().requires_grad_()
    step.model(x).square().mean().backward()
    torch.testing.assert_close(answers["gradient of input"], x.grad)


def average_instead(model: nn.Module) -> nn.Module:
    """An acceleration with other answers."""
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):
                pool = nn.AvgPool2d(child.kernel_size, child.stride, child.padding)
                setattr(module, name, pool)
    return model


def other_shape(model: nn.Module) -> nn.Module:
    return nn.Sequential(model, nn.Flatten())


def without_a_number(model: nn.Module) -> nn.Module:
    model.register_forward_hook(lambda module, inputs, output: output * float("nan"))
    return model


@pytest.mark.parametrize("accelerate", [average_instead, other_shape, without_a_number])
def test_another_output_is_an_error_not_a_time(accelerate) -> None:
    from benchmarks.networks import runner

    network = small("YOLO SPP block")
    with pytest.raises(ValueError, match=r"YOLO SPP block.*accelerated output is"):
        runner.run_row(network, setting(), accelerate, 1, 0.001)


class OtherWinner(nn.MaxPool2d):
    """The maximum, with a gradient that goes to all cells of the window."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        average = F.avg_pool2d(x, self.kernel_size, self.stride, self.padding)
        return super().forward(x).detach() + average - average.detach()


def test_another_gradient_is_an_error_even_where_the_output_is_right() -> None:
    from benchmarks.networks import runner

    def accelerate(model: nn.Module) -> nn.Module:
        pool = model[-1]
        model[-1] = OtherWinner(pool.kernel_size, pool.stride, pool.padding)
        return model

    network = small("ResNet-18 stem")
    runner.run_row(network, setting(), accelerate, 1, 0.001)
    with pytest.raises(ValueError, match=r"accelerated gradient of .*nothing was timed"):
        runner.run_row(network, setting(mode="training"), accelerate, 1, 0.001)


def test_only_the_copy_is_accelerated() -> None:
    from benchmarks.networks import runner

    theirs, ours = runner.prepare(small("YOLO SPP block"), setting(), average_instead)
    assert theirs.model is not ours.model
    assert all(isinstance(pool, nn.MaxPool2d) for pool in theirs.model.pools)


def test_the_table_marks_what_misses_its_target_or_the_floor() -> None:
    from benchmarks.networks import table

    goal = {"batch": 8, "threads": 2}
    rows = [
        row_of("SqueezeNet 1.1", 1.79, **goal),  # misses its target
        row_of("SqueezeNet 1.1", 1.79, **goal | {"layout": "channels_last"}),  # no target there
        row_of("YOLO SPP block", 4.01, **goal),
        row_of("VGG-11 block", 0.97, mode="training", threads=2),  # below the floor
        row_of("VGG-11 block", 0.99, threads=2),
    ]
    assert [row.missed for row in rows] == [True, False, False, True, False]
    printed = table.markdown(rows, "a machine")
    marked = [table.MISSED in line for line in printed.splitlines() if " NCHW " in line]
    assert marked == [True, False, True, False]
    assert "| SqueezeNet 1.1 | 8 | NCHW | inference | 19.7 | 11 | 1.79 | 1.79–1.79 |" in printed
    assert f"| ≥ 1.80 | {table.MISSED} |" in printed
    assert "2 of 5 rows missed their target." in printed


def test_a_ratio_is_that_of_the_pairs() -> None:
    from benchmarks.paired import Samples, compare

    # The machine halved its speed in the last two rounds; in each, PyTorch took twice as long.
    ratio = compare(Samples((2.0, 4.4, 4.0)), Samples((1.0, 2.0, 2.0)))
    assert ratio.paired == 2.0
    assert (ratio.low, ratio.high) == (2.0, pytest.approx(2.1))
    assert (ratio.of_medians, ratio.of_bests) == (2.0, 2.0)
    assert compare(Samples((3.0,)), Samples((1.0,))) == (3.0,) * 5


def test_rounds_fit_the_budget_and_short_calls_are_repeated() -> None:
    from benchmarks.paired import LEAST_ROUNDS, plan

    assert plan({"torch": 0.6, "poolwise": 0.4}, 25, 5.0) == (5, {"torch": 1, "poolwise": 1})
    assert plan({"torch": 60.0, "poolwise": 40.0}, 25, 5.0)[0] == LEAST_ROUNDS
    assert plan({"torch": 60.0, "poolwise": 40.0}, 1, 5.0)[0] == 1
    assert plan({"torch": 1e-3, "poolwise": 1e-4}, 25, 5.0) == (25, {"torch": 10, "poolwise": 100})


def test_every_other_round_runs_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import paired

    monkeypatch.setattr(paired, "SAMPLE_SECONDS", 0.0)
    monkeypatch.setattr(paired, "WARMED_SECONDS", 0.0)
    order: list[str] = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    samples = paired.interleave(calls, rounds=3, seconds=10.0)
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"  # the first two are the estimates
    assert all(len(sample.seconds) == 3 for sample in samples.values())


def options(*words: str) -> argparse.Namespace:
    from benchmarks.__main__ import parser

    return parser().parse_args(words)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalogue at sizes that take milliseconds."""
    from benchmarks.networks import catalogue

    monkeypatch.setattr(catalogue, "NETWORKS", tuple(small(name) for name in NAMES))


@pytest.mark.usefixtures("tiny")
def test_the_command_prints_writes_csv_and_fills_the_readme(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.networks import command

    readme, output = tmp_path / "README.md", tmp_path / "out.csv"
    readme.write_text("a\n<!-- networks:start -->\nold\n<!-- networks:end -->\nb\n")
    words = ["networks", "--networks", "spp,U-net", "--threads", "1", "--rounds", "1"]
    chosen = options(*words, "--readme", "-o", str(output))
    assert command.run(chosen, same, readme) == 0
    printed = capsys.readouterr()
    assert "| 3-D U-Net level | 8 | NCDHW | inference |" in printed.out
    assert "| 3-D U-Net level | 8 | channels_last_3d | inference |" in printed.out
    assert "6/6" in printed.err
    text = readme.read_text()
    assert text.startswith("a\n<!-- networks:start -->\n\nMeasured on: ")
    assert text.endswith("\n<!-- networks:end -->\nb\n")
    assert "| inference, batch 8, 1 thread | torch NCHW, ms |" in text
    assert text.count("\n| YOLO SPP") == 2  # a line per network has both layouts
    with output.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert all(float(row["ratio"]) > 0 and row["missed"] in "01" for row in rows)


@pytest.mark.usefixtures("tiny")
def test_against_itself_nothing_is_accelerated(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.networks import command

    chosen = options("networks", "--networks", "spp block", "--rounds", "1", "--batch", "1")
    chosen.against_itself, chosen.threads = True, "1"
    assert command.run(chosen, average_instead) == 0  # or the answers would differ
    printed = capsys.readouterr().out
    assert "Both columns are PyTorch's" in printed
    assert printed.count("\n| YOLO SPP block |") == 4


@pytest.mark.usefixtures("tiny")
def test_the_default_run_is_all_of_it() -> None:
    from benchmarks.networks import command

    networks, settings = command.choose(options("networks", "--threads", "2"))
    assert len(networks) == len(NAMES)
    assert len(set(settings)) == 8
    assert {s.batch for s in settings} == {1, 8}


@pytest.mark.parametrize(
    "words",
    [
        ["networks", "--networks", "resnet-9000"],
        ["networks", "--batch", "0"],
        ["networks", "--batch", "many"],
        ["networks", "--layout", "nhwc"],
        ["networks", "--mode", "sleep"],
        ["networks", "--rounds", "0"],
        ["networks", "--readme", "--batch", "1"],
        ["networks", "--readme", "--against-itself"],
        ["torch-ops", "--poolings", "median"],
        ["torch-ops", "--peers", "jax"],
        ["torch-ops", "--seconds", "0"],
    ],
)
def test_bad_options_are_errors(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.__main__ import main

    assert main(words) == 2
    assert capsys.readouterr().err.startswith("error:")


def test_a_readme_without_the_markers_is_found_before_the_measuring(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.networks import command

    readme = tmp_path / "README.md"
    readme.write_text("no markers")
    assert command.run(options("networks", "--readme"), same, readme) == 2
    assert "networks:start" in capsys.readouterr().err


def test_torch_ops_print_both_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.torch_ops import cases, command

    monkeypatch.setattr(cases, "cases", partial(cases.cases, shape=(1, 2, 15, 14)))
    output = tmp_path / "out.csv"
    words = ["torch-ops", "--poolings", "max 2x2,avg global", "--peers", "torch", "--threads", "1"]
    chosen = options(*words, "--rounds", "1", "--seconds", "0.001", "-o", str(output))
    assert command.run(chosen, F) == 0
    printed = capsys.readouterr().out
    assert (
        "| forward+backward, 1x2x15x14, channels_last, 1 thread | poolwise, ms | torch, ms |"
        in printed
    )
    assert "| one call on 1x64x7x7 | poolwise no grad, µs |" in printed
    assert printed.count("\n| max 2x2/2 |") == 5  # two layouts, two directions, and the overhead
    with output.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (2 * 2 * 2 + 2 * 2)
    assert {row["peer"] for row in rows} == {"poolwise", "torch"}


def test_another_answer_of_a_function_is_an_error() -> None:
    from benchmarks.torch_ops import cases, runner

    def nearly(x: torch.Tensor, *arguments: int) -> torch.Tensor:
        return F.max_pool2d(x, *arguments) * 1.000001  # a maximum is one of the inputs, exactly

    (pooling,) = cases.choose("max 3x3/2")
    case = cases.Case(pooling, "channels_last", "forward", (1, 2, 9, 8))
    functions = SimpleNamespace(max_pool2d=nearly)
    with pytest.raises(ValueError, match="torch and poolwise differ"):
        runner.run_case(case, functions, ["torch"], 1, 1, 0.001, lambda text: None)


def test_every_pooling_of_torch_ops_runs_at_a_small_size() -> None:
    """Names and arguments are right, so that a table never fails on its last line."""
    from benchmarks.torch_ops import cases, runner

    shape = (1, 2, 15, 14)
    for case in cases.cases(cases.POOLINGS, cases.LAYOUTS, cases.DIRECTIONS, shape):
        timed = runner.run_case(case, F, ["torch"], 1, 1, 0.001, lambda text: None)
        assert timed.ratio("torch") > 0
        assert timed.ratio("compile") is None
