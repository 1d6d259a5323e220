"""A store in a Redis of its own, and the test's view of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from celery_defer.store import RedisStore
from tests.support.redis import Server
from tests.support.standing import StandingStore


@pytest.fixture
def redis(server: Server) -> Iterator[Redis]:
    """The test's own view of the database that the store is in."""
    with server.client(db=2) as client:
        client.flushall()
        yield client


@pytest.fixture
def store(server: Server, redis: Redis) -> RedisStore:
    return StandingStore(server.client(db=2), "defer:")
