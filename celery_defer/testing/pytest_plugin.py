"""The pytest plugin, loaded by its entry point: the fixture ``defer_simulation``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from typing import Any

import pytest

from celery_defer.testing import Simulation


@pytest.fixture
def defer_simulation() -> Iterator[Callable[..., Simulation]]:
    """Run the tasks of an app inside the test: ``sim = defer_simulation(app)``.

    It takes the arguments of ``celery_defer.testing.Simulation``, and ends with the test.
    """
    with ExitStack() as simulations:

        def begin(app: Any, *, now: datetime | None = None) -> Simulation:
            return simulations.enter_context(Simulation(app, now=now))

        yield begin
