"""What is written into a Redis without Celery's help is what Celery would have written."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

import pytest
from celery import Celery
from celery.signals import before_task_publish
from redis import Redis

from celery_defer import Defer
from celery_defer.ids import RunId
from celery_defer.outbox import ParkedRun, pack
from celery_defer.outbox.relay import Relay
from celery_defer.store import Parking
from tests.support.redis import Server

AT = datetime(2024, 5, 17, 8, 30, tzinfo=timezone.utc)
LIMITED = {"queue": "work", "time_limit": 9}
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
    ParkedRun(RunId("five"), "ship", 1, options=LIMITED, headers={"x": 1}),
    ParkedRun(RunId("six"), "ship", 1, options=LIMITED, headers={"x": 2}),
    ParkedRun(RunId("seven"), "ship", 1, (), {}, {"queue": "work", "link": [{"task": "bill"}]}),
    ParkedRun(RunId("eight"), "ship", 1, (), {}, {"queue": "work", "compression": "zlib"}),
    ParkedRun(RunId("nine"), "ship", 1, (9,), {}, {"queue": "work", "compression": "zlib"}),
]  # fmt: skip


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
        app._celery_defer.store.park(run.id, parking, 0, 600)


def woken(app: Any, redis: Redis) -> list[dict[str, Any]]:
    """Let a relay wake all runs; answer their messages, by the order of the runs."""
    extension = app._celery_defer
    park_all(app)
    Relay(app, extension.store, extension.settings).tick(100)
    queues: Any = redis.keys("work*")  # one for each priority
    found = [json.loads(each) for queue in queues for each in redis.lrange(queue, 0, -1)]
    for message in found:
        del message["properties"]["delivery_tag"]
        with suppress(ValueError):  # a body that is compressed stays as it is
            message["body"] = json.loads(b64decode(message["body"]))
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

    assert sorted(seen) == sorted(run.id for run in RUNS)
