"""The plain store and the one in Redis give equal answers to equal doings, in any order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from redis import Redis

from celery_defer.ids import RunId
from celery_defer.store import MemoryStore, RedisStore, Store
from examples.redis_server import own_database, redis_server

_KEEP = 600.0
_PREFIX = "lock-step:"

ids = st.sampled_from([RunId("one"), RunId("two"), RunId("{three}:outbox")])
tokens = st.sampled_from(["first", "second", "second.1"])
bodies = st.sampled_from([b"{}", b'{"a":1}', "ä 'quoted'\n".encode()])
# Whole and broken seconds of today's size, where a double has few digits to spare.
times = st.sampled_from([0.0, 1.5, 2.0, 1_790_000_000.123456, 1_790_000_001.0])


class LockStep(RuleBasedStateMachine):
    """Does everything twice, and compares."""

    client: ClassVar[Redis]

    def __init__(self) -> None:
        super().__init__()
        for key in self.client.scan_iter(f"{_PREFIX}*"):
            self.client.delete(key)
        self.redis = RedisStore(self.client, _PREFIX)
        self.both: tuple[Store, Store] = (MemoryStore(), self.redis)

    @rule(id=ids, token=tokens, body=bodies, due=times)
    def stage(self, id: RunId, token: str, body: bytes, due: float) -> None:
        for store in self.both:
            store.stage(id, token, body, due, _KEEP)()

    @rule(id=ids, token=st.none() | tokens)
    def settle(self, id: RunId, token: str | None) -> None:
        for store in self.both:
            store.settle(id, token)

    @rule(id=ids, token=tokens)
    def settle_with_commands(self, id: RunId, token: str) -> None:
        plain, _ = self.both
        plain.settle(id, token)
        send = self.redis.settle_in(self.client.connection_pool.connection_kwargs, id, token)
        assert send is not None
        send([])

    @rule(now=times, until=times, limit=st.integers(1, 3))
    def take(self, now: float, until: float, limit: int) -> None:
        plain, fast = (store.take(now, until, limit) for store in self.both)
        assert plain == fast

    @rule(id=ids, token=tokens, due=times, body=st.none() | bodies)
    def postpone(self, id: RunId, token: str, due: float, body: bytes | None) -> None:
        for store in self.both:
            store.postpone(id, token, due, body)

    @rule(id=ids, token=tokens, reason=st.text(max_size=5))
    def quarantine(self, id: RunId, token: str, reason: str) -> None:
        for store in self.both:
            store.quarantine(id, token, reason, _KEEP)

    @rule(id=ids, owner=tokens)
    def claim(self, id: RunId, owner: str) -> None:
        plain, fast = (store.claim(id, owner, _KEEP) for store in self.both)
        assert plain == fast

    @invariant()
    def they_show_the_same(self) -> None:
        plain, fast = self.both
        assert plain.waiting() == fast.waiting()
        assert plain.quarantined() == fast.quarantined()

    def teardown(self) -> None:
        """What is left in the end expires, or is the empty index of nothing."""
        for key in self.client.scan_iter(f"{_PREFIX}*"):
            assert key == f"{_PREFIX}due".encode() or int(self.client.ttl(key)) > 0  # type: ignore[arg-type]
        assert self.client.zcard(f"{_PREFIX}due") == self.both[0].waiting()


@pytest.fixture(scope="module", autouse=True)
def _redis() -> Iterator[None]:
    with redis_server() as server, own_database(server) as url, Redis.from_url(url) as client:
        LockStep.client = client
        yield


TestLockStep = LockStep.TestCase
TestLockStep.settings = settings(
    max_examples=int(os.environ.get("DEFER_MODEL_EXAMPLES", "150")),
    stateful_step_count=30,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
