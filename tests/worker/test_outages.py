"""Services that go away for a while: nothing is lost, and no parent notices (4.4 and 5.3).

Each test has a broker and a store of its own, which it stops, hangs or cuts off; results are
kept elsewhere, so that parents can succeed meanwhile.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from pytest_celery import CeleryTestWorker

from celery_defer import run_id
from celery_defer.store import RedisStore
from tests.support.processes import SECONDS, wait_until
from tests.support.proxy import Proxy
from tests.support.rabbitmq import own_rabbitmq
from tests.support.redis import Server, durable, running
from tests.worker.caller import Caller
from tests.worker.local import LocalWorker

RECONNECTS = "Connection to broker lost"
PARENTS = 3
CALLS = [{"id": id, "kind": "plain", "n": 1} for id in ("first", "second")]


@dataclass(frozen=True)
class Scene:
    """A worker with room for three parents, the way to its broker, and its store."""

    caller: Caller
    worker: LocalWorker
    way: Proxy
    store: Server
    _broker: Server | None

    @property
    def broker(self) -> Server:
        assert self._broker is not None, "only a Redis of the scene's own can be stopped"
        return self._broker

    def hold(self, calls: list[dict[str, Any]] = CALLS, count: int = PARENTS) -> list[str]:
        """Start parents that have deferred, and wait in their bodies."""
        parents = [self.caller.send("parents.held", calls=calls) for _ in range(count)]
        for parent in parents:
            wait_until(lambda run=parent: self._waits(run), "the body waits")
        return parents

    def _waits(self, parent: str) -> bool:
        self.supervise()
        return bool(self.caller.marks("waiting", parent))

    def let_go(self, parents: list[str]) -> None:
        """Let the parents end; each must succeed as if nothing were wrong."""
        for parent in parents:
            self.caller.go(parent)
        assert [self.caller.result(parent) for parent in parents] == ["done"] * len(parents)

    def let_go_without_broker(self, parents: list[str]) -> None:
        self.let_go(parents)
        self.says("2 calls wait in the outbox", times=PARENTS)

    def runs_once(
        self,
        parents: list[str],
        calls: list[dict[str, Any]] = CALLS,
        *,
        may_come_again: bool = False,
    ) -> None:
        """Wait until each deferred run has succeeded, the outbox is empty, and all is quiet.

        A run *may come again* where its acknowledgement was lost with the broker's connection: that
        is the broker's own redelivery of one message, not a second publication.
        """
        runs = [run_id(parent, call["id"]) for parent in parents for call in calls]

        def have_ended() -> bool:
            self.supervise()
            return all(self.caller.meta(run)["status"] == "SUCCESS" for run in runs)

        wait_until(have_ended, "all have succeeded", 2 * SECONDS)
        wait_until(lambda: self.waiting() == 0, "the outbox is empty")
        for _ in range(2 * PARENTS):  # a fence for each process, and one more round
            self.caller.result(self.caller.send("parents.fence"))
        again = {run: self.caller.marks("began-again", run) for run in runs}
        began = {run: self.caller.marks("began", run) for run in runs}
        if may_come_again:
            assert all(began[run] - again[run] <= 1 for run in runs), (began, again)
        else:
            assert set(began.values()) == {1}
        assert self.worker.status == "running"

    def waiting(self) -> int:
        client = self.caller.redis.__class__.from_url(self.store.url)
        with client:
            return RedisStore(client).waiting()

    def says(self, text: str, times: int = 1) -> None:
        def is_said() -> bool:
            self.supervise()
            return self.worker.logs().count(text) >= times

        wait_until(is_said, text)

    def supervise(self) -> None:
        """Do what a supervisor does, where kombu itself has ended the worker.

        kombu 5.7 may, when its Redis goes away: Channel.close restores what is unacknowledged
        through a connection that has no client any more.
        """
        if self.worker.status != "running" and "restore_unacked_once" in self.worker.logs():
            self.worker.start()


@pytest.fixture
def build(redis_url: str) -> Iterator[Callable[..., Scene]]:
    """Make a scene whose broker is Redis or RabbitMQ, behind a proxy."""

    def scene(kind: str = "Redis") -> Scene:
        store = stack.enter_context(running(*durable()))
        broker = stack.enter_context(running(*durable())) if kind == "Redis" else None
        url = broker.url if broker else stack.enter_context(own_rabbitmq())
        way = stack.enter_context(Proxy(url))
        worker = LocalWorker(
            f"outage-{uuid4().hex[:8]}",
            *("--concurrency", str(PARENTS)),
            env={
                "CELERY_BROKER_URL": way.url,
                "CELERY_RESULT_BACKEND": redis_url,
                "DEFER_TEST_CONFIG": json.dumps({"defer_store_url": store.url}),
            },
        )
        stack.callback(worker.teardown)
        worker.ready()
        app = Celery("client", broker=url, backend=redis_url, set_as_current=False)
        caller = stack.enter_context(Caller(app, CeleryTestWorker(worker, app)))
        return Scene(caller, worker, way, store, broker)

    with ExitStack() as stack:
        yield scene


@pytest.fixture
def scene(build: Callable[..., Scene]) -> Scene:
    """A scene whose broker is Redis."""
    return build()


@pytest.mark.matrix  # kombu may end the worker: see Scene.supervise
def test_a_broker_that_was_stopped_gets_all_when_it_is_back(scene: Scene) -> None:
    parents = scene.hold()

    scene.broker.stop()
    scene.let_go_without_broker(parents)
    scene.broker.start()

    scene.runs_once(parents)


def test_rabbitmq_that_was_cut_off_gets_all_when_it_is_back(build: Callable[..., Scene]) -> None:
    scene = build("RabbitMQ")
    parents = scene.hold()

    scene.way.cut()
    scene.let_go_without_broker(parents)
    scene.way.mend()

    scene.runs_once(parents)


@pytest.mark.matrix
@pytest.mark.parametrize("kind", ["Redis", "RabbitMQ"])
def test_a_broker_that_hangs_holds_a_parent_up_for_seconds_only(
    build: Callable[..., Scene], kind: str
) -> None:
    scene = build(kind)
    parents = scene.hold(count=1)

    scene.way.hang()
    began = time.monotonic()
    scene.let_go(parents)
    scene.says("2 calls wait in the outbox")
    blocked = time.monotonic() - began
    print(f"a parent's end waits {blocked:.1f} s for a broker that hangs")
    scene.way.mend()

    assert blocked < 20
    scene.runs_once(parents, may_come_again=True)


@pytest.mark.matrix
def test_rabbitmq_that_has_ended_its_connections_gets_all_at_once(
    build: Callable[..., Scene],
) -> None:
    scene = build("RabbitMQ")
    for _ in range(2 * PARENTS):  # each process has a connection
        scene.let_go(scene.hold(count=1))
    parents = scene.hold()

    scene.way.cut()
    scene.way.mend()
    scene.let_go(parents)

    scene.runs_once(parents, may_come_again=True)
    assert "wait in the outbox" not in scene.worker.logs()


def test_with_the_store_stopped_all_is_published_from_memory(scene: Scene) -> None:
    """And the consumer, whose broker is well, is left alone."""
    parents = scene.hold()

    scene.store.stop()
    scene.let_go(parents)
    for parent in parents:
        for call in CALLS:
            scene.caller.child(parent, call["id"])
    scene.says("published from memory", times=PARENTS)
    scene.says("the store cannot be used (defer_store_url = 'redis://")
    scene.store.start()

    scene.runs_once(parents)
    scene.says("the store can be used again")
    assert scene.worker.logs().count("the store cannot be used") == 1
    assert RECONNECTS not in scene.worker.logs()
    later = scene.hold()
    scene.let_go(later)
    scene.runs_once(later)
    assert scene.worker.logs().count("published from memory") == PARENTS


@pytest.mark.matrix  # kombu may end the worker: see Scene.supervise
def test_with_both_stopped_what_was_stored_before_goes_out(scene: Scene) -> None:
    parents = scene.hold()

    scene.broker.stop()
    scene.let_go_without_broker(parents)
    scene.store.stop()
    scene.says("the store cannot be used")
    scene.broker.start()
    scene.store.start()

    scene.runs_once(parents)


@pytest.mark.matrix  # kombu may end the worker: see Scene.supervise
def test_with_both_stopped_at_a_parents_end_the_loss_is_told(scene: Scene) -> None:
    """There is no place left to keep the calls; the parent succeeds, and the worker goes on."""
    parents = scene.hold(count=1)

    scene.store.stop()
    scene.broker.stop()
    scene.let_go(parents)
    for call in CALLS:
        scene.says(f"defer '{call['id']}' of run {parents[0]} (parents.held) is lost")
    scene.broker.start()
    scene.store.start()

    later = scene.hold()
    scene.let_go(later)
    scene.runs_once(later)


@pytest.mark.matrix
@pytest.mark.parametrize("kind", ["Redis", "RabbitMQ"])
def test_a_network_cut_in_the_middle_of_publishing(build: Callable[..., Scene], kind: str) -> None:
    """Forty calls are some 40,000 bytes; what arrived before the cut may arrive again."""
    scene = build(kind)
    calls = [{"id": f"call-{n}", "kind": "plain", "n": n} for n in range(40)]

    for times, count in enumerate((100, 3_000, 20_000), start=1):
        (parent,) = scene.hold(calls, count=1)
        scene.way.cut_after(count)
        scene.let_go([parent])
        wait_until(lambda: scene.way.is_cut, "the cut")
        scene.says("calls wait in the outbox", times)
        scene.way.mend()
        scene.runs_once([parent], calls, may_come_again=True)


@pytest.mark.matrix
def test_a_store_that_hangs_holds_a_parent_up_for_seconds_only(scene: Scene) -> None:
    parents = scene.hold(count=1)

    with scene.store.hanging():
        began = time.monotonic()
        scene.caller.go(parents[0])
        wait_until(lambda: scene.caller.meta(parents[0])["status"] == "SUCCESS", "the end", 60)
        blocked = time.monotonic() - began
        print(f"a parent's end waits {blocked:.1f} s for a store that hangs")

    assert blocked < 20
    scene.runs_once(parents)
    assert RECONNECTS not in scene.worker.logs()
