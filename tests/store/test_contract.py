"""Every store is held to one contract, and the fast one does what the plain one does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from celery_defer.store import MemoryStore
from celery_defer.testing import StoreContract
from examples.redis_server import own_database, redis_server
from tests.support.standing import StandingClock, StandingStore


@pytest.fixture(scope="session")
def client() -> Iterator[Redis]:
    with redis_server() as server, own_database(server) as url, Redis.from_url(url) as client:
        yield client


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def clock(self) -> StandingClock:
        return StandingClock()

    @pytest.fixture
    def store(self, clock: StandingClock) -> MemoryStore:
        return MemoryStore(clock=clock)


class TestRedisStore(StoreContract):
    @pytest.fixture
    def store(self, client: Redis, request: pytest.FixtureRequest) -> StandingStore:
        return StandingStore(client, f"{request.node.name}:")

    @pytest.fixture
    def clock(self, store: StandingStore) -> StandingStore:
        return store
