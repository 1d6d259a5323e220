"""A shop as it stands in production, and a simulation of it that begins on a Monday."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery, _state

from celery_defer import Defer, deferred
from celery_defer.testing import Simulation
from tests.support.shop import MONDAY


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Celery:
    """An app as it stands in production: nothing listens where its servers would be."""
    monkeypatch.setattr("celery._state._on_app_finalizers", set(_state._on_app_finalizers))
    app = Celery(
        f"shop-{uuid.uuid4().hex}",
        broker="redis://127.0.0.1:1/0",
        backend="redis://127.0.0.1:1/1",
    )
    Defer(app)
    return app


@pytest.fixture
def sim(shop: Celery) -> Iterator[Simulation]:
    with Simulation(shop, now=MONDAY) as simulation:
        yield simulation


@pytest.fixture
def mail(shop: Celery) -> Any:
    @deferred
    @shop.task(name="mail")
    def mail(to: str) -> str:
        return f"mail to {to}"

    return mail
