"""A deferred function that keeps what it was called with, and parents of any body."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import deferred
from tests.support.inside import Worker, parent_of


@pytest.fixture
def ran() -> list[Any]:
    """What the deferred function below was called with."""
    return []


@pytest.fixture
def receipt(app: Celery, ran: list[Any]) -> Any:
    @deferred(app)
    def receipt(order_id: int) -> int:
        ran.append(order_id)
        return order_id

    return receipt


@pytest.fixture
def run(app: Celery, worker: Worker) -> Any:
    """Runs a function as the body of a parent, and returns the parent's result."""

    def run(body: Any, **options: Any) -> Any:
        return worker.run(parent_of(app, body), **options)

    return run
