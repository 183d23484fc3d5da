"""Settings shared by all tests: how hypothesis runs, and a switch to the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "poolwise",
    deadline=None,  # the first call of a test pays for imports and threads
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("poolwise")


@pytest.fixture
def eight_threads() -> Iterator[None]:
    """More threads than cores, so that maps are cut into many bands."""
    import poolwise as pw

    before = pw.get_num_threads()
    pw.set_num_threads(8)
    yield
    pw.set_num_threads(before)


@pytest.fixture
def by_reference() -> Callable[[], AbstractContextManager[None]]:
    """Within ``by_reference()``, every call is run by the reference instead of the core."""
    from poolwise import _engine

    @contextmanager
    def switched() -> Iterator[None]:
        before = _engine._CORE_AXES
        _engine._CORE_AXES = 0
        try:
            yield
        finally:
            _engine._CORE_AXES = before

    return switched
