"""The relay in real workers: it works beside tasks, shares, and survives what it cannot read."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest

from celery_defer import run_id
from celery_defer.ids import RunId
from celery_defer.model import Call, Options, Outcome
from celery_defer.outbox import DeferredCalls, records
from celery_defer.store import RedisStore
from tests.support import stored
from tests.support.processes import wait_until
from tests.worker.caller import Caller
from tests.worker.local import LocalWorker

# Each worker has another prefix, so that the session's worker does not do its work.
PREFIX = "relay-test:"
CONFIG = f'{{"defer_key_prefix": "{PREFIX}"}}'


@pytest.fixture(scope="module")
def workers(start_module_worker: Callable[..., LocalWorker]) -> list[LocalWorker]:
    """Two solo workers, each with a queue of its own and one outbox."""
    env = {"DEFER_TEST_CONFIG": CONFIG}
    workers = [start_module_worker(f"relay-{n}", "--pool", "solo", env=env) for n in range(2)]
    for worker in workers:
        worker.ready()
    return workers


@pytest.fixture
def callers(workers: list[LocalWorker], caller_of: Callable[[LocalWorker], Caller]) -> list[Caller]:
    return [caller_of(worker) for worker in workers]


@pytest.fixture
def outbox(callers: list[Caller]) -> Iterator[Outbox]:
    """What a worker that is gone has left: records that are due."""
    yield Outbox(callers[0])
    for kind in ("due", "quarantine"):
        callers[0].redis.delete(f"{PREFIX}{kind}")
    callers[0].redis.delete(f"{PREFIX}{{odd}}:outbox", "relayed")


class Outbox:
    def __init__(self, caller: Caller) -> None:
        self.redis = caller.redis
        self._store = RedisStore(caller.app.backend.client, PREFIX)

    def put(self, task: str = "kinds.plain") -> str:
        """Leave the record of a parent whose result is not kept; answer its deferred run's id."""
        parent = RunId(str(uuid4()))
        call = Call("next", task, b'[[],{"n":1}]', time.time(), Options(queue="relayed"))
        kept = DeferredCalls(parent, parent, "gone", 0, Outcome.SUCCESS, time.time(), {}, (call,))
        self._store.stage(parent, "token", records.pack(kept), time.time(), 60)
        return run_id(parent, "next")

    def put_raw(self, id: str, fields: dict[str, str | bytes]) -> None:
        stored.put(self.redis, f"{PREFIX}{{{id}}}:outbox", fields)
        self.redis.zadd(f"{PREFIX}due", {id: 0})

    def quarantined(self) -> dict[str, str]:
        return {each.id: each.reason for each in self._store.quarantined()}

    def is_empty(self) -> bool:
        return self._store.waiting() == 0


def test_it_runs_while_a_solo_worker_is_inside_a_task(
    callers: list[Caller], outbox: Outbox
) -> None:
    held = [caller.send("parents.held", calls=[]) for caller in callers]
    for caller, run in zip(callers, held, strict=True):
        wait_until(lambda caller=caller, run=run: caller.marks("waiting", run), "both are busy")

    run = outbox.put()

    wait_until(outbox.is_empty, "the record is published")
    assert callers[0].marks("after-publish", run) == 1
    assert [caller.meta(id)["status"] for caller, id in zip(callers, held, strict=True)] == [
        "PENDING",
        "PENDING",
    ]
    for caller, id in zip(callers, held, strict=True):
        caller.go(id)
        caller.result(id)


def test_two_workers_share_the_work(callers: list[Caller], outbox: Outbox) -> None:
    runs = [outbox.put() for _ in range(400)]

    wait_until(outbox.is_empty, "all are published")

    assert {callers[0].marks("after-publish", run) for run in runs} == {1}
    assert all("the relay has published what run" in caller.worker.logs() for caller in callers)


POISON: dict[str, dict[str, str | bytes]] = {
    "not-json": {"token": "t", "body": "garbage", "tries": 0},
    "not-text": {"token": "t", "body": b"\xff\x00\xfe", "tries": 0},
    "not-a-record": {"token": "t", "body": "[1, 2]", "tries": 0},
}


@pytest.mark.parametrize("id", POISON)
def test_a_record_that_cannot_be_read_is_put_aside_and_shown(
    callers: list[Caller], outbox: Outbox, id: str
) -> None:
    outbox.put_raw(id, POISON[id])
    run = outbox.put()

    wait_until(lambda: id in outbox.quarantined(), "it is put aside")

    wait_until(outbox.is_empty, "nothing is left")
    assert "the record cannot be read" in outbox.quarantined()[id]
    assert callers[0].marks("after-publish", run) == 1
    assert all(caller.result(caller.send("parents.many", count=0)) == 0 for caller in callers)


def test_the_command_line_shows_what_is_put_aside(callers: list[Caller], outbox: Outbox) -> None:
    outbox.put_raw("shown", POISON["not-json"])
    wait_until(lambda: "shown" in outbox.quarantined(), "it is put aside")

    command = f"{sys.executable} -m celery -A tests.worker.tasks defer "
    _, listed = callers[0].worker.container.exec_run(command + "quarantine")
    _, counted = callers[0].worker.container.exec_run(command + "outbox")

    assert re.search(rb"shown +unknown +the record cannot be read", listed)
    assert b"1 in quarantine" in counted


def test_a_record_without_a_body_is_put_aside_and_shown(
    callers: list[Caller], outbox: Outbox
) -> None:
    outbox.put_raw("no-body", {"token": "t"})

    wait_until(lambda: "no-body" in outbox.quarantined(), "it is put aside", 5)


@pytest.mark.parametrize(
    "put",
    [lambda redis, key: redis.hset(key, "a", "x"), lambda redis, key: redis.set(key, "a string")],
    ids=["another type", "no record"],
)
def test_a_key_of_somebody_else_does_not_stop_the_others(
    callers: list[Caller], outbox: Outbox, put: Callable[[Any, str], object]
) -> None:
    put(outbox.redis, f"{PREFIX}{{odd}}:outbox")
    outbox.redis.zadd(f"{PREFIX}due", {"odd": 0})
    run = outbox.put()

    wait_until(lambda: callers[0].marks("after-publish", run), "the other is published", 5)
