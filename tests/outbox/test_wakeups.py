"""What is written into a Redis without Celery's help is what Celery would have written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.signals import before_task_publish
from celery.states import STARTED
from celery_defer.run.telling import show_started, started, waiting
from redis import Redis

from celery_defer import Defer
from celery_defer.app.bootstep import RelayStep
from celery_defer.ids import RunId
from celery_defer.outbox import ParkedRun, pack
from celery_defer.outbox.relay import Relay
from celery_defer.run.scope import Scope
from celery_defer.steps.wait import Wait
from celery_defer.store import Parking, RedisStore, Told, Verdict
from tests.support.redis import Server, running

RUN = RunId("run")
AT = datetime(2024, 5, 17, 8, 30, tzinfo=timezone.utc)
#: Runs of one kind, of which each has something that the others have not.
RUNS = [
    ParkedRun(RunId("one"), "ship", 1, (1, "b"), {"at": AT}, {"queue": "work", "priority": 0}),
    ParkedRun(RunId("two"), "ship", 2, (), {"note": "ü" * 600}, {"queue": "work", "priority": 0}),
    ParkedRun(
        RunId("three"), "ship", 1, options={
            "queue": "work", "priority": 0, "root_id": "root", "parent_id": "parent",
        },
    ),
    ParkedRun(RunId("four"), "ship", 3, ([1, {"a": None}],), {}, {"queue": "work", "priority": 5}),
    ParkedRun(RunId("five"), "ship", 1, (), {}, {"queue": "work", "time_limit": 9}, headers={"x": 1}),
    ParkedRun(RunId("six"), "ship", 1, (), {}, {"queue": "work", "time_limit": 9}, headers={"x": 2}),
    ParkedRun(RunId("seven"), "ship", 1, (), {}, {"queue": "work", "link": [{"task": "bill"}]}),
    ParkedRun(RunId("eight"), "ship", 1, (), {}, {"queue": "work", "compression": "zlib"}),
    ParkedRun(RunId("nine"), "ship", 1, (9,), {}, {"queue": "work", "compression": "zlib"}),
]  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as server:
        yield server


@pytest.fixture
def redis(server: Server) -> Iterator[Redis]:
    with server.client() as client:
        client.flushall()
        yield client


@pytest.fixture
def app(server: Server, redis: Redis) -> Iterator[Any]:
    app: Any = Celery(broker=f"{server.url}/0", backend=f"{server.url}/1", set_as_current=False)
    app.conf.defer_store_url = f"{server.url}/2"
    Defer(app)
    yield app
    app.close()


def park_all(app: Any) -> None:
    for number, run in enumerate(RUNS):
        parking = Parking(0, "nap", b"note", f"token-{number}", pack(run), number)
        app._celery_defer.store.park(run.parked, parking, 0, 600)


def woken(app: Any, redis: Redis) -> list[dict[str, Any]]:
    """Let a relay wake all runs; answer their messages, by the order of the runs."""
    extension = app._celery_defer
    park_all(app)
    Relay(app, extension.store, extension.settings, announces=lambda: False).tick(100)
    queues: Any = redis.keys("work*")  # one for each priority
    found = [json.loads(each) for queue in queues for each in redis.lrange(queue, 0, -1)]
    for message in found:
        del message["properties"]["delivery_tag"]
    return sorted(found, key=lambda message: str(message["headers"]["id"]))


def test_a_message_written_on_another_is_what_celery_makes(app: Any, redis: Redis) -> None:
    def watch(**_: Any) -> None:  # who is watched publishes each message by Celery
        pass

    before_task_publish.connect(watch)
    by_celery = woken(app, redis)
    before_task_publish.disconnect(watch)
    redis.flushall()

    ours = woken(app, redis)

    assert len(ours) == len(RUNS)
    assert ours == by_celery


def test_who_watches_publications_sees_each_wake_up(app: Any, redis: Redis) -> None:
    seen: list[str] = []

    def watch(headers: Any = None, **_: Any) -> None:
        seen.append(headers["id"])

    before_task_publish.connect(watch)
    woken(app, redis)
    before_task_publish.disconnect(watch)

    assert sorted(seen) == sorted(run.parked for run in RUNS)


@pytest.mark.parametrize(
    ("groups", "is_told"),
    [
        pytest.param(None, True, id="events of tasks: -E"),
        pytest.param(["worker"], False, id="heartbeats alone"),
        pytest.param(["worker", "task"], True, id="turned on by celery control"),
    ],
)
def test_flower_is_told_of_a_wake_up_by_workers_that_tell_it_of_tasks(
    app: Any, server: Server, groups: list[str] | None, is_told: bool
) -> None:
    with app.connection_for_write() as connection, server.client() as client:
        events = app.events.Dispatcher(connection, enabled=False, groups=groups)
        events.enabled = True
        step = RelayStep(
            SimpleNamespace(app=app, consumer=SimpleNamespace(event_dispatcher=events))
        )
        reader = client.pubsub(ignore_subscribe_messages=True)
        reader.psubscribe("*celeryev/task.retried")
        reader.get_message(timeout=1)
        park_all(app)

        step._relay._relay.tick(100)  # type: ignore[union-attr]

        assert (reader.get_message(timeout=0.2) is not None) == is_told


# -- that a run goes on, told by the script that gives it its turn ----------------------------


def scope_of(app: Any) -> Scope:
    @app.task(name="ship", shared=False)
    def ship() -> None: ...

    extension, request = app._celery_defer, {"id": RUN, "hostname": "worker@host", "task": "ship"}
    return Scope(app.tasks["ship"], request, extension.settings, extension.store)


@pytest.mark.filterwarnings("ignore:Call to deprecated setex")  # Celery's
def test_what_the_store_tells_is_what_celery_stores(app: Any, server: Server) -> None:
    run, results = scope_of(app), server.client(db=1)
    told = started(run)
    assert told is not None

    show_started(run)

    assert told.key == b"celery-task-meta-run"
    assert str(told.value).encode() == results.get("celery-task-meta-run")
    assert told.expires == results.ttl("celery-task-meta-run")


def test_who_gets_a_turn_is_seen_to_have_started(app: Any, server: Server) -> None:
    store, told = app._celery_defer.store, started(scope_of(app))

    resumed = store.resume(RUN, 0, "owner", 60, told)

    assert resumed.has_told
    assert app.AsyncResult(RUN).state == STARTED
    assert server.client(db=1).ttl("celery-task-meta-run") > 60
    assert store.recall(RUN, None, 60).turn == 0  # the store is where it was


def test_who_reads_results_is_told_of_a_start(app: Any, server: Server) -> None:
    store, told = app._celery_defer.store, started(scope_of(app))
    reader = server.client().pubsub(ignore_subscribe_messages=True)
    reader.subscribe("celery-task-meta-run")
    reader.get_message(timeout=1)

    store.resume(RUN, 0, "owner", 60, told)

    message = reader.get_message(timeout=1)
    assert message is not None
    assert json.loads(message["data"])["status"] == STARTED


def test_a_run_that_parks_is_seen_to_wait(app: Any, server: Server) -> None:
    store, run = app._celery_defer.store, scope_of(app)
    wait = Wait("sleep", run.now() + 300)
    told = waiting(run, wait.meta("nap"), wait.until)
    assert told is not None
    assert store.tells(told)

    store.park(RUN, Parking(0, "nap", b"note", "token", b"body", wait.until), run.now(), 600, told)

    seen = app.AsyncResult(RUN)
    assert (seen.state, seen.info["step"], seen.info["until"]) == ("WAITING", "nap", wait.shown)
    assert server.client(db=1).ttl("celery-task-meta-run") > 60
    assert store.recall(RUN, None, 60).turn == 1  # the store is where it was


def test_a_run_that_does_not_park_tells_nothing(app: Any) -> None:
    store, run = app._celery_defer.store, scope_of(app)
    parking = Parking(3, "nap", b"note", "token", b"body", run.now() + 300)

    found = store.park(RUN, parking, run.now(), 600, waiting(run, Wait("sleep", 0).meta("nap"), 0))

    assert found.verdict is Verdict.SUPERSEDED
    assert app.AsyncResult(RUN).state == "PENDING"


def test_the_state_of_a_long_wait_outlives_it(app: Any) -> None:
    run = scope_of(app)
    expires = app.backend.expires

    wait = Wait("sleep", run.now() + 10 * expires)
    told = waiting(run, wait.meta("nap"), wait.until)

    assert told is not None
    assert told.expires == pytest.approx(11 * expires, abs=5)


def test_another_message_of_a_turn_tells_nothing(app: Any) -> None:
    store, told = app._celery_defer.store, started(scope_of(app))
    store.resume(RUN, 0, "first", 60)

    resumed = store.resume(RUN, 0, "second", 60, told)

    assert not resumed.has_told
    assert app.AsyncResult(RUN).state == "PENDING"


def test_a_store_tells_nothing_in_a_redis_where_it_is_not(app: Any, server: Server) -> None:
    store: RedisStore = app._celery_defer.store
    elsewhere = Told({"host": "elsewhere", "port": 6379}, "key", "value", 60)

    resumed = store.resume(RUN, 0, "owner", 60, elsewhere)

    assert resumed.claim.is_mine
    assert not resumed.has_told
    assert server.client(db=1).keys() == []


class OwnBackend:
    """A result backend of somebody else's."""


def test_a_backend_that_is_not_celerys_own_is_told_by_itself(app: Any) -> None:
    run = scope_of(app)
    run.task.backend = OwnBackend()

    assert started(run) is None
