"""Every store is held to one contract, and the fast one does what the plain one does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from celery_defer.store import MemoryStore, RedisStore
from celery_defer.testing import StoreContract
from examples.redis_server import own_database, redis_server
from tests.support.standing import StandingStore


@pytest.fixture(scope="session")
def client() -> Iterator[Redis]:
    with redis_server() as server, own_database(server) as url, Redis.from_url(url) as client:
        yield client


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()


class TestRedisStore(StoreContract):
    @pytest.fixture
    def store(self, client: Redis, request: pytest.FixtureRequest) -> RedisStore:
        return StandingStore(client, f"{request.node.name}:")
