"""How many examples property tests try: few in the quick suite, many under the marker `slow`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

QUICK, SLOW = 200, 2000


def _settings(examples: int) -> settings:
    # The same examples each time; a slow machine is no failure, and folders of the test may be used again.
    unmoved = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    return settings(
        max_examples=examples, deadline=None, derandomize=True, database=None, suppress_health_check=unmoved
    )


def tried(test: Callable[..., Any]) -> Callable[..., Any]:
    """A property test with `QUICK` examples, and with `SLOW` ones under -m slow: the parameter `examples` says how many."""
    count = pytest.mark.parametrize(
        "examples", [pytest.param(QUICK, id="quick"), pytest.param(SLOW, id="slow", marks=pytest.mark.slow)]
    )
    return count(test)


def check(property_: Callable[..., None], examples: int, **strategies: Any) -> None:
    """Try a property on drawn values."""
    from hypothesis import given

    _settings(examples)(given(**strategies)(property_))()
