"""Every example in a docstring of poolwise runs and prints what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import poolwise

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(poolwise.__path__, "poolwise.")
    if not module.name.endswith("__main__")
)


@pytest.mark.parametrize("name", ["poolwise", *MODULES])
def test_examples(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("doctest"))  # an example may write a file
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert results.failed == 0


def test_the_public_functions_have_examples() -> None:
    """A public function's docstring ends in an example: it is how most people learn its shapes."""
    bare = [
        name
        for name in poolwise.__all__
        if callable(getattr(poolwise, name))
        and ">>>" not in (getattr(poolwise, name).__doc__ or "")
    ]
    assert not bare
