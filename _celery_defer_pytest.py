"""The pytest plugin, loaded by its entry point: ``defer_simulation`` and ``force_variant``.

It imports nothing of the package before a test asks for the fixture, because pytest loads it in
every session: an early import would change what other plugins measure or patch, and take time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from datetime import datetime

    from celery_defer.testing import Simulation


@pytest.fixture
def defer_simulation() -> Iterator[Callable[..., Simulation]]:
    """Run the tasks of an app inside the test: ``sim = defer_simulation(app)``.

    It takes the arguments of ``celery_defer.testing.Simulation``, and ends with the test.
    """
    from celery_defer.testing import Simulation  # noqa: PLC0415

    with ExitStack() as simulations:

        def begin(app: Any, *, now: datetime | None = None) -> Simulation:
            return simulations.enter_context(Simulation(app, now=now))

        yield begin


@pytest.fixture
def force_variant() -> Iterator[Callable[[str, str], None]]:
    """Let runs take a variant until the test ends: ``force_variant("checkout-flow", "variant")``.

    It takes the arguments of ``celery_defer.testing.force_variant``.
    """
    from celery_defer.testing import force_variant  # noqa: PLC0415

    with ExitStack() as forced:

        def force(experiment: str, variant: str) -> None:
            forced.enter_context(force_variant(experiment, variant))

        yield force
