"""What a run asks of the Redis that has its result, and what it leaves in the outbox there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from celery_defer import Defer, defer, deferred
from celery_defer.outbox.relay import Relay
from celery_defer.testing.store_contract.shorthand import stage
from examples.redis_server import free_port
from tests.support.inside import Worker
from tests.support.redis import Server, running

# redis-py says so of what Celery's result backend calls.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


@pytest.fixture
def redis(server: Server) -> Iterator[Redis]:
    """The test's own view of the database that the store is in."""
    with server.client(db=2) as client:
        client.flushall()
        yield client


def app_on(server: Server, **settings: Any) -> Celery:
    app = Celery(f"app-{free_port()}", broker=f"{server.url}/3", backend=f"{server.url}/4")
    app.conf.update(settings)
    Defer(app)
    return app


def parent_of(app: Celery, calls: int) -> Any:
    @deferred
    @app.task(name=f"ship-{calls}", shared=False)
    def ship(n: int) -> None: ...

    @app.task(name=f"parent-{calls}", shared=False)
    def parent() -> None:
        for n in range(calls):
            defer(f"call-{n}", ship, n)

    return parent


def test_a_deferred_run_leaves_a_claim_of_few_bytes_for_as_long_as_the_setting_says(
    server: Server, redis: Redis
) -> None:
    app = app_on(server, defer_store_url=f"{server.url}/2", defer_claim_expires=60)
    worker = Worker(app)
    worker.run(parent_of(app, 1))
    [result] = worker.drain()

    key = f"celery-defer:{{{result.id}}}:owner"
    assert len(redis.get(key)) == 18  # type: ignore[arg-type]
    assert 55 < redis.ttl(key) <= 60  # type: ignore[operator]


@pytest.mark.parametrize("calls", [1, 100])
@pytest.mark.parametrize("options", [{}, {"global_keyprefix": "team:"}])
def test_a_run_whose_result_and_messages_are_in_one_redis_asks_for_one_script(
    server: Server, redis: Redis, calls: int, options: Any
) -> None:
    app = app_on(server, broker_transport_options=options, result_backend_transport_options=options)
    store = app._celery_defer.store
    stage(store, "other", due=10)
    parent = parent_of(app, calls)
    Worker(app).perform(parent)  # declares the queue
    before = asked(server)

    Worker(app).perform(parent)

    queue = options.get("global_keyprefix", "") + "celery"
    assert server.client(db=3).llen(queue) == 2 * calls
    assert store.waiting() == 1  # the other
    assert asked(server) == {**before, "evalsha": before["evalsha"] + 1}


@pytest.mark.parametrize("calls", [1, 100])
@pytest.mark.parametrize("options", [{}, {"global_keyprefix": "team:"}])
def test_a_run_published_to_another_server_leaves_the_outbox_after_that(
    server: Server, redis: Redis, calls: int, options: Any
) -> None:
    with running() as elsewhere:
        app = app_on(server, broker_url=f"{elsewhere.url}/3", broker_transport_options=options)
        parent = parent_of(app, calls)
        for _ in range(2):
            Worker(app).perform(parent)

        queue = options.get("global_keyprefix", "") + "celery"
        assert elsewhere.client(db=3).llen(queue) == 2 * calls
        assert app._celery_defer.store.waiting() == 0


def test_a_relay_where_nothing_is_due_asks_for_records_and_for_the_next_time(
    server: Server, redis: Redis
) -> None:
    app = app_on(server, defer_store_url=f"{server.url}/2")
    extension = app._celery_defer
    relay = Relay(app, extension.store, extension.settings)
    relay.tick(extension.clock())
    relay.next_due()
    before = asked(server)

    relay.tick(extension.clock())
    relay.next_due()

    assert asked(server) == {**before, "evalsha": before["evalsha"] + 2}


def asked(server: Server) -> dict[str, int]:
    stats: Any = server.client().info("commandstats")
    return {
        name: stats.get(f"cmdstat_{name}", {"calls": 0})["calls"]
        for name in ("eval", "evalsha", "multi")
    }


def test_as_many_calls_as_a_run_may_make_leave_the_outbox_when_they_are_published(
    server: Server, redis: Redis
) -> None:
    app = app_on(server)
    calls = app._celery_defer.settings.max_per_run

    Worker(app).perform(parent_of(app, calls))

    assert server.client(db=3).llen("celery") == calls
    assert app._celery_defer.store.waiting() == 0
