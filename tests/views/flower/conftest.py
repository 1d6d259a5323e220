"""A Flower with the Deferred tab, on a Redis of the test's own, and the store that it reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from celery import Celery

from celery_defer import Defer
from celery_defer.store import Store
from tests.support.flower import Flower, Visitor
from tests.support.redis import Server

SHOP = "tests.views.flower.shop"


def env_of(server: Server, **more: str) -> Mapping[str, str]:
    return {"CELERY_BROKER_URL": server.url, "CELERY_RESULT_BACKEND": server.url, **more}


@pytest.fixture(scope="module")
def flower(running_server: Server) -> Iterator[Flower]:
    """A Flower that lets everybody press its buttons."""
    with Flower(SHOP, env=env_of(running_server, FLOWER_UNAUTHENTICATED_API="true")) as flower:
        yield flower


@pytest.fixture
def visitor(flower: Flower, server: Server) -> Iterator[Visitor]:
    with flower.visitor() as visitor:
        yield visitor


@pytest.fixture
def client(server: Server) -> Celery:
    """The app, in the process of the test."""
    app = Celery("client", broker=server.url, backend=server.url, set_as_current=False)
    Defer(app)
    return app


@pytest.fixture
def records(client: Any) -> Store:
    """The store that Flower reads."""
    store: Store = client._celery_defer.store
    return store
