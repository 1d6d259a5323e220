"""No run waits for what cannot come.

Each way in which a wake-up or a record can vanish, for each that waits: the run goes on, or it ends
and its chord and its client hear of it. And ``cancel`` ends it whatever has vanished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import pytest
from celery import Celery, group
from celery.exceptions import NotRegistered
from redis import Redis

from celery_defer import cancel, deferred, send_event, step
from celery_defer.store import MemoryStore, RedisStore
from tests.support.inside import WatchedStore, Worker
from tests.support.redis import Server

HOUR = 3_600.0
#: Longer than any record is kept after its time.
HOURS = 24 * 10
ENDED = {"SUCCESS", "FAILURE", "REVOKED"}

Act = Callable[["Scene"], object]


@dataclass
class Scene:
    """A run that waits, whose end another waits for, perhaps."""

    worker: Worker
    store: Any
    redis: Redis | None
    #: The run that is parked, and the result that its client waits for.
    parked: str = ""
    result: Any = None

    @property
    def app(self) -> Any:
        return self.worker.app

    @property
    def key(self) -> str:
        return f"defer:{{{self.parked}}}:outbox"

    def pass_time(self, hours: int = HOURS) -> None:
        """Let relays look, and workers run what they publish, until the client has its result."""
        for _ in range(hours):
            if self.result.state in ENDED:
                return
            self.worker.wake(HOUR)


# -- who waits ---------------------------------------------------------------------------------


def sleep(scene: Scene) -> None:
    @scene.app.task(shared=False)
    def parent() -> str:
        step.sleep("nap", 60)
        return "done"

    scene.result = scene.worker.run(parent)
    scene.parked = scene.result.id


def an_event(scene: Scene) -> None:
    @scene.app.task(shared=False)
    def parent() -> str:
        step.wait_for_event("wait", "event", timeout=60)
        return "done"

    scene.result = scene.worker.run(parent)
    scene.parked = scene.result.id


def invoke(scene: Scene) -> None:
    @deferred
    @scene.app.task(shared=False)
    def child() -> str:
        step.sleep("nap", 60)
        return "done"

    @scene.app.task(shared=False)
    def parent() -> str:
        return step.invoke("child", child)

    scene.result = scene.worker.run(parent)
    scene.worker.drain()
    (child_result,) = [
        scene.app.AsyncResult(id) for id in [scene.app.AsyncResult(scene.result.id).info["run"]]
    ]
    scene.parked = child_result.id


def chord(scene: Scene) -> None:
    @scene.app.task(shared=False)
    def part(naps: bool) -> str:
        if naps:
            step.sleep("nap", 60)
        return "done"

    @scene.app.task(shared=False)
    def total(parts: list[str]) -> str:
        return parts[-1]

    scene.result = (group(part.s(False), part.s(True)) | total.s()).apply_async()
    scene.worker.drain()
    (scene.parked,) = [each.id for each in scene.result.parent.results if each.state == "WAITING"]


# -- what vanishes ---------------------------------------------------------------------------


def purge(scene: Scene) -> None:
    """The queue is purged, with the wake-up in it."""
    assert scene.worker.later(61)


def purge_event(scene: Scene) -> None:
    """The queue is purged, with the wake-up of an event in it."""
    send_event("event")
    scene.worker.published()
    scene.worker.later(61)


def delete(scene: Scene) -> None:
    """The record has expired, or was evicted."""
    assert scene.redis is not None
    assert scene.redis.delete(scene.key)


def purge_and_delete(scene: Scene) -> None:
    purge(scene)
    delete(scene)


def poison(scene: Scene) -> None:
    """The record is no record."""
    assert scene.redis is not None
    scene.redis.set(scene.key, b"poison", keepttl=True)


def change_type(scene: Scene) -> None:
    assert scene.redis is not None
    scene.redis.delete(scene.key)
    scene.redis.hset(scene.key, "token", "poison")


def poison_body(scene: Scene) -> None:
    """The record has a body that nobody has packed."""
    if scene.redis is None:
        records = scene.store._outbox
        records[scene.parked] = replace(records[scene.parked], body=b"P\x01poison")
        return
    packed: Any = scene.redis.get(scene.key)
    scene.redis.set(scene.key, packed[:-9] + b"poison", keepttl=True)


def refuse(scene: Scene) -> None:
    """No broker takes the wake-up."""

    queues = scene.app.amqp.queues
    queues.create_missing = False
    queues.clear()


def unknown(scene: Scene) -> None:
    """No worker has the task: celery.worker.consumer.Consumer.on_unknown_task."""
    for message in scene.worker.later(61):
        scene.app.backend.mark_as_failure(message.headers["id"], NotRegistered("task"))


WAITERS = [sleep, an_event, invoke, chord]
WAYS: dict[Act, str] = {
    purge: "SUCCESS",
    purge_event: "SUCCESS",
    unknown: "SUCCESS or FAILURE",  # Celery stores FAILURE at once, and a relay tries again
    delete: "FAILURE",
    purge_and_delete: "FAILURE",
    poison: "FAILURE",
    change_type: "FAILURE",
    poison_body: "FAILURE",
    refuse: "FAILURE",
}
IN_REDIS = {delete, purge_and_delete, poison, change_type}


@pytest.fixture(params=["memory", "redis"])
def scene(app: Celery, server: Server, request: pytest.FixtureRequest) -> Iterator[Scene]:
    app.conf.result_chord_expires = app.conf.result_expires = 40 * 24 * HOUR
    if request.param == "memory":
        app._celery_defer.store = MemoryStore()
        yield Scene(Worker(app), app._celery_defer.store, None)
        return
    with server.client() as redis:
        redis.flushall()
        app._celery_defer.store = RedisStore(redis, "defer:")
        yield Scene(Worker(app), app._celery_defer.store, redis)


def _name(act: Act) -> str:
    return act.__name__


def skip_in_memory(scene: Scene, way: Act) -> None:
    if scene.redis is None and way in IN_REDIS:
        pytest.skip("nothing vanishes from the memory of the process")


@pytest.mark.parametrize("way", WAYS, ids=_name)
@pytest.mark.parametrize("waiter", WAITERS, ids=_name)
def test_who_waits_hears_of_it_whatever_vanishes(scene: Scene, waiter: Act, way: Act) -> None:
    skip_in_memory(scene, way)
    waiter(scene)
    way(scene)
    scene.pass_time()

    assert scene.result.state in WAYS[way].split(" or ")
    scene.worker.wake(HOUR)
    assert scene.store.waiting() == 0


@pytest.mark.parametrize("way", WAYS, ids=_name)
@pytest.mark.parametrize("waiter", WAITERS, ids=_name)
def test_who_is_parked_can_be_cancelled_whatever_vanishes(
    scene: Scene, waiter: Act, way: Act
) -> None:
    skip_in_memory(scene, way)
    waiter(scene)
    way(scene)

    assert cancel(scene.parked) is True
    assert cancel(scene.parked) is False
    assert scene.app.AsyncResult(scene.parked).state == "REVOKED"
    scene.pass_time()
    assert scene.result.state == ("REVOKED" if scene.result.id == scene.parked else "FAILURE")
    scene.worker.wake(HOUR)
    assert scene.store.waiting() == 0


def test_the_callbacks_of_a_run_whose_record_is_lost_are_called(scene: Scene) -> None:
    failed: list[str] = []

    @scene.app.task(shared=False)
    def note(id: str) -> None:
        failed.append(id)

    @scene.app.task(shared=False)
    def parent() -> None:
        step.sleep("nap", 60)

    scene.result = scene.worker.run(parent, link_error=note.si("failed"))
    scene.parked = scene.result.id
    poison_body(scene)
    scene.pass_time()

    assert failed == ["failed"]
    assert "was parked, and cannot go on" in str(scene.result.result)


def test_a_run_of_which_the_store_knows_nothing_can_be_cancelled(scene: Scene) -> None:
    sleep(scene)
    scene.app._celery_defer.store = MemoryStore()

    assert cancel(scene.parked) is True
    assert scene.result.state == "REVOKED"


def test_a_run_that_comes_late_goes_on_once(scene: Scene) -> None:
    passes = []

    @scene.app.task(shared=False)
    def parent() -> str:
        passes.append(1)
        step.sleep("nap", 60)
        return "done"

    scene.result = scene.worker.run(parent)
    messages = [*scene.worker.later(61), *scene.worker.later(HOUR), *scene.worker.later(2 * HOUR)]
    assert len(messages) == 3
    for message in messages:
        scene.worker.trace(message)

    assert scene.result.result == "done"
    assert len(passes) == 2


def test_a_wake_up_that_is_published_again_waits_twice_as_long_each_time(scene: Scene) -> None:
    sleep(scene)
    assert scene.worker.later(61)

    hours = [hour for hour in range(1, 32) if scene.worker.later(HOUR)]
    pauses = [later - earlier for earlier, later in pairwise(hours)]
    assert len(hours) in (4, 5)  # by the clock of Redis a look may come an hour later
    assert all(later >= 1.5 * earlier for earlier, later in pairwise(pauses))


def test_a_run_that_started_while_the_store_was_away_does_not_start_again(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    passes = []

    @app.task(shared=False)
    def parent() -> str:
        passes.append(1)
        step.sleep("nap", 60)
        return "done"

    result = worker.run(parent)
    (message,) = worker.later(61)
    store.away = {"resume"}
    worker.trace(message)
    store.away = set()
    assert worker.later(HOUR) == []

    assert result.result == "done"
    assert (len(passes), store.waiting()) == (2, 0)


def test_a_run_whose_canceller_died_is_ended_by_a_relay(scene: Scene) -> None:
    sleep(scene)
    scene.store.cancel(scene.parked, 600, scene.worker.now + 10)
    scene.worker.wake(11)

    assert scene.result.state == "REVOKED"
    assert scene.store.waiting() == 0
