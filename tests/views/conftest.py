"""An app with a store in memory, or with one in a Redis."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer.store import MemoryStore, RedisStore, Store
from tests.support.redis import Server


@pytest.fixture(params=["memory", "redis"])
def each_store(request: pytest.FixtureRequest, app: Celery) -> Store:
    """The store of the app, of each kind."""
    if request.param == "redis":
        server: Server = request.getfixturevalue("server")
        store: Any = RedisStore(server.client(db=2), "defer:")
    else:
        store = MemoryStore()
    app._celery_defer.store = store
    return store  # type: ignore[no-any-return]
