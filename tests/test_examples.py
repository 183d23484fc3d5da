"""The examples run as they stand, and do what they say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_a_network_learns_from_images_of_any_size(capsys) -> None:
    example = loaded("train_spp")
    sizes = {image.shape for image, _ in example.make_set(240, 0)}
    assert len(sizes) > 150
    before, after = example.train(epochs=4)
    assert before < 0.6
    assert after > 0.9
    assert "epoch 4: loss" in capsys.readouterr().out
