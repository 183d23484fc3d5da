"""What `accelerate` must leave alone, and what `pooling_report` says of a model.

Hooks, modes, buffers, attributes of the user's own, poolwise's own modules, and whatever is no
pooling on a CPU stay as they are; the report lists every pooling and changes nothing.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

import poolwise.torch as pt


class Network(nn.Module):
    """Two pooling modules and a pooling function, with state that training changes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.MaxPool2d(3, 2))
        self.dropout = nn.Dropout(0.5)
        self.bins = nn.AdaptiveAvgPool2d(2)

    def forward(self, x: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        x = F.avg_pool2d(self.features(x) * scale, 2, 1)
        return self.bins(self.dropout(x)).flatten(1)


class Stateless(nn.Module):
    """No pooling at all, of a class whose code must not be touched."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


def made(training: bool = False) -> tuple[Network, torch.Tensor]:
    torch.manual_seed(9)
    return Network().train(training), torch.randn(2, 3, 20, 22)


def state(model: nn.Module) -> list[Any]:
    """All that a report may not change."""
    modules = [(name, type(m), m.training, sorted(vars(m))) for name, m in model.named_modules()]
    tensors = {k: v.clone() for k, v in model.state_dict().items()}
    return [modules, tensors, [p.grad for p in model.parameters()]]


def same_state(model: nn.Module, before: list[Any]) -> bool:
    now = state(model)
    tensors = all(torch.equal(now[1][k], v) for k, v in before[1].items())
    return now[0] == before[0] and tensors and now[2] == before[2]


def test_hooks_run_in_their_order() -> None:
    calls: list[str] = []
    model, x = made()
    pool, conv = model.features[2], model.features[0]
    model.register_forward_pre_hook(lambda m, args: calls.append("before the model"))
    pool.register_forward_pre_hook(lambda m, args: calls.append("before the pooling"))
    pool.register_forward_hook(lambda m, args, y: y + 1)
    conv.register_forward_hook(lambda m, args, y: calls.append("after the convolution"))
    model.bins.register_full_backward_hook(lambda m, dx, dy: calls.append("backward of the bins"))
    model.register_forward_hook(lambda m, args, y: calls.append("after the model"))

    def run() -> tuple[list[str], torch.Tensor]:
        calls.clear()
        y = model(x)
        y.sum().backward()
        return list(calls), y.detach()

    expected, y = run()
    pt.accelerate(model)
    found, ours = run()
    assert found == expected
    assert len(found) == 5
    torch.testing.assert_close(ours, y)
    late: list[str] = []
    handle = pool.register_forward_hook(lambda m, args, y: late.append("late"))
    model(x)
    assert late == ["late"]
    handle.remove()
    pt.restore(model)
    assert run()[0] == expected


def test_modes_arguments_and_attributes() -> None:
    model, x = made(training=True)
    model.note = "mine"
    pt.accelerate(model)
    assert all(m.training for m in model.modules())
    model.eval()
    assert not any(m.training for m in model.modules())
    expected = model(x, 2.0)
    torch.testing.assert_close(model(x, scale=2.0), expected)
    model.features[2].kernel_size = 2  # what a user changes later counts
    model.another = nn.MaxPool2d(2)
    changed = model(x, 2.0)
    pt.restore(model)
    assert (model.note, model.features[2].kernel_size) == ("mine", 2)
    assert type(model.another) is nn.MaxPool2d
    torch.testing.assert_close(model(x, 2.0), changed)
    assert not torch.allclose(changed, expected)


def test_training_goes_on_as_before() -> None:
    networks = [made(training=True)[0] for _ in range(2)]
    pt.accelerate(networks[1])
    _, x = made()
    for network in networks:
        optimizer = torch.optim.SGD(network.parameters(), 0.1)
        torch.manual_seed(2)  # for the dropout
        for _ in range(3):
            optimizer.zero_grad()
            network(x).square().mean().backward()
            optimizer.step()
    for name, expected in networks[0].state_dict().items():
        found = networks[1].state_dict()[name]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    networks[0].load_state_dict(networks[1].state_dict())


def test_poolwises_own_modules_stay() -> None:
    for never in (True, False):
        model = nn.Sequential(pt.MaxPool2d(2), nn.MaxPool2d(2), pt.SumPool2d(2), Stateless())
        kinds = [type(m) for m in model.modules()]
        if never:
            assert pt.restore(model) is model
        else:
            pt.restore(pt.accelerate(model))
        assert [type(m) for m in model.modules()] == kinds


def test_what_does_not_pool_is_not_touched() -> None:
    model = nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU(), Stateless(), nn.Upsample(scale_factor=2))
    before = state(model)
    pt.accelerate(model)
    assert same_state(model, before)
    fractional = nn.Sequential(nn.FractionalMaxPool2d(2, output_size=3))
    x = torch.randn(1, 2, 8, 8)
    torch.manual_seed(1)
    expected = fractional(x)
    torch.manual_seed(1)
    assert torch.equal(pt.accelerate(fractional)(x), expected)


def test_what_poolwise_does_not_answer_alike_stays_torchs() -> None:
    x = torch.randn(1, 2, 8, 9)
    integers = (x * 9).long()
    calls: list[tuple[nn.Module, torch.Tensor]] = [
        (nn.LPPool2d(3, 2), x),
        (nn.LPPool2d(2, 2, ceil_mode=True), x),
        (nn.AvgPool2d(2), integers),
        (nn.AvgPool2d((2, 2), divisor_override=-3), x),
        (nn.MaxPool2d(2), integers),
        (nn.MaxPool2d(2), x.to("meta")),
        (nn.AdaptiveAvgPool2d(1), x),
        (nn.AdaptiveMaxPool2d((None, 3)), x),
    ]
    for module, given in calls:
        expected = module(given)
        y = pt.accelerate(nn.Sequential(module))(given)
        assert (y.dtype, y.shape, y.device) == (expected.dtype, expected.shape, expected.device)
        if y.device.type == "cpu":
            torch.testing.assert_close(y, expected, equal_nan=True)


def test_errors_stay_errors() -> None:
    for module in (nn.MaxPool2d(3, stride=0), nn.AvgPool2d(9), nn.AdaptiveAvgPool2d(-1)):
        pt.accelerate(module)
        with pytest.raises((RuntimeError, ValueError, TypeError)):
            module(torch.randn(1, 2, 4, 4))
    with pytest.raises((RuntimeError, ValueError, TypeError)):
        pt.accelerate(nn.MaxPool2d(2))(torch.randn(4))


@pytest.mark.parametrize("what", [None, 3, "model", nn.MaxPool2d, torch.zeros(2), [nn.ReLU()]])
def test_only_modules(what: Any) -> None:
    for function in (pt.accelerate, pt.restore, lambda m: pt.pooling_report(m, torch.zeros(1))):
        with pytest.raises(TypeError, match="Module"):
            function(what)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("accelerated", [False, True])
def test_the_report_lists_every_pooling(training: bool, accelerated: bool) -> None:
    model, x = made(training)
    if accelerated:
        pt.accelerate(model)
    before, random = state(model), torch.get_rng_state()
    text = str(pt.pooling_report(model, x, scale=0.5))
    assert same_state(model, before)
    assert torch.equal(torch.get_rng_state(), random)
    lines = text.split("\n")
    for function, place in [("max_pool2d", "features.2"), ("adaptive_avg_pool2d", "bins")]:
        found = [line for line in lines if place in line and function in line]
        assert len(found) == 1, text
    (plain,) = [line for line in lines if re.search(r"(?<!adaptive_)avg_pool2d", line)]
    assert "bins" not in plain
    assert re.search(r"before.*after", lines[0])
    for line in (plain, *found):
        assert line.count("%") == 2  # its share of the time before and after
    assert all(len(line) <= 160 for line in lines)


def test_the_report_of_a_model_without_pooling() -> None:
    model = nn.Sequential(nn.ReLU(), Stateless())
    text = str(pt.pooling_report(model, torch.randn(2, 3)))
    assert "pool2d" not in text
    assert text


def test_a_report_of_two_inputs_and_of_a_pooling_called_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool = nn.MaxPool2d(2)

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return self.pool(x).sum() + self.pool(self.pool(y)).sum()

    model = Twice()
    kinds = [type(m) for m in model.modules()]
    text = str(pt.pooling_report(model, torch.randn(1, 2, 8, 8), torch.randn(1, 2, 12, 12)))
    assert text.count("max_pool2d") == 3
    assert [type(m) for m in model.modules()] == kinds
