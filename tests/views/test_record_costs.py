"""What the record costs: no round trip, and no key that stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from celery._state import _set_task_join_will_block

from celery_defer import defer, deferred, set_tags, step
from celery_defer.store import RunState
from celery_defer.views import record, runs
from tests.support.inside import Worker, parent_of, ship_of
from tests.support.one_redis import ONE_TRANSACTION, app_on, asked_of
from tests.support.processes import wait_until
from tests.support.redis import Server

pytestmark = ONE_TRANSACTION

PLACES: dict[str, Callable[[Server], dict[str, Any]]] = {
    "one Redis": lambda server: {},
    "one Redis, by the signal": lambda server: {"defer_commit": "signal"},
    "results elsewhere": lambda server: {
        "backend": "cache+memory://",
        "defer_store_url": server.url,
    },
    "messages elsewhere": lambda server: {"broker": "memory://"},
}


@pytest.fixture(autouse=True)
def as_in_a_pool() -> Iterator[None]:
    """Let nobody listen for results."""
    _set_task_join_will_block(True)
    yield
    _set_task_join_will_block(False)


class Measured:
    """A worker, and how often the server was asked for something."""

    def __init__(self, server: Server, **settings: Any) -> None:
        self.server = server
        self.app = app_on(server, **settings)
        self.worker = Worker(self.app)
        self.asked: dict[str, int] = {}

    def do(self, name: str, act: Callable[[], Any]) -> None:
        """Count what *act* asks; the last time counts, for connections are open then."""
        with asked_of(self.server) as asked:
            act()
        self.asked[name] = len([each for each in asked if not each.in_script])


def act_all(measured: Measured) -> dict[str, int]:
    """Let runs of each kind begin, wait and end, twice."""
    app, worker = measured.app, measured.worker
    ship, waits = ship_of(app), waiting_of(app)

    def calls(count: int, of: Any = ship, when: Any = "success", **payload: Any) -> Any:
        def body() -> None:
            for number in range(count):
                defer(f"call-{number}", of.with_options(when=when), **payload)

        return parent_of(app, body)

    def failing() -> None:
        defer("call", ship.with_options(when="always"), n=1)
        raise ValueError("no")

    one, waiting, failed = calls(1, n=1), calls(1, waits), parent_of(app, failing)
    for _ in range(2):
        measured.do("a parent that defers nothing", lambda: worker.perform(calls(0)))
        measured.do("a parent with a hundred calls", lambda: worker.perform(calls(100, n=1)))
        measured.do("a parent that fails", lambda: worker.perform(failed))
        worker.published()
        measured.do("a parent with a call", lambda: worker.perform(one))
        [message] = worker.published()
        measured.do("a deferred run", lambda message=message: worker.trace(message))
        worker.perform(waiting)
        [message] = worker.published()
        measured.do("a run that parks", lambda message=message: worker.trace(message))
        [message] = worker.later(61)
        measured.do("a run that parks again", lambda message=message: worker.trace(message))
        [message] = worker.later(61)
        measured.do("a run that ends", lambda message=message: worker.trace(message))
    return measured.asked


def waiting_of(app: Celery, seconds: int = 60) -> Any:
    @deferred
    @app.task(name="waits", shared=False)
    def waits() -> None:
        set_tags({"order": "7"})
        step.run("one", lambda: 1)
        step.sleep("nap", seconds)
        step.wait_for_event("reply", "replied", timeout=seconds)

    return waits


@pytest.mark.parametrize("place", PLACES)
def test_the_record_costs_no_round_trip(server: Server, place: str) -> None:
    settings = PLACES[place](server)
    with_record = act_all(Measured(server, **settings))
    server.client().flushall()
    without = act_all(Measured(server, **settings, defer_record=False))

    assert with_record == without


def test_skipped_calls_are_written_with_the_result(server: Server) -> None:
    def asked(**settings: Any) -> int:
        measured = Measured(server, **settings)

        def body() -> None:
            defer("bad", ship, n="x")  # type: ignore[arg-type]
            defer("gone", ship, n=1).abort()

        ship = ship_of(measured.app)
        task = parent_of(measured.app, body)
        for _ in range(2):
            measured.do("it", lambda: measured.worker.perform(task))
        return measured.asked["it"]

    assert asked() <= asked(defer_record=False)


@pytest.mark.parametrize("place", PLACES)
def test_no_key_of_a_record_outlives_the_results(server: Server, place: str) -> None:
    settings: dict[str, Any] = {
        "result_expires": 1,
        "defer_result_expires": 1,
        "defer_claim_expires": 1,
    }
    measured = Measured(server, **settings, **PLACES[place](server))
    app, worker = measured.app, measured.worker
    ship = ship_of(app)
    waits = waiting_of(app, seconds=2)  # the list of a tag lives as long as the longest wait

    def body() -> None:
        set_tags({"order": "7"})
        defer("ship", ship, n=1)
        defer("waits", waits)
        defer("bad", ship, n="x")  # type: ignore[arg-type]
        defer("gone", ship, n=1).abort()

    parent = worker.run(parent_of(app, body))
    worker.drain()
    worker.wake(3)
    worker.wake(3)
    assert {row.state for row in record(parent.id, app=app).defers} == {
        RunState.SUCCEEDED, RunState.SKIPPED, RunState.ABORTED,
    }  # fmt: skip
    assert len(runs(app=app, tag=("order", "7")).rows) == 5

    assert {kind.partition(":")[0] for kind in keys(server)} >= {"log", "runs", "tag", "tasks"}

    wait_until(lambda: keys(server) == {}, "all keys of records have gone")


def keys(server: Server) -> dict[str, int]:
    """Return what is left of records, with its time to live; the steps of runs live longer."""
    found = {}
    for number in (0, 3, 4):
        client: Any = server.client(db=number, decode_responses=True)
        for key in client.scan_iter("celery-defer:*"):
            kind = key.removeprefix("celery-defer:")
            if kind.endswith(":history") or kind.startswith(("log:", "runs:", "tag:", "tasks")):
                found[kind] = client.ttl(key)
            else:
                assert client.ttl(key) != -1 or kind in ("due", "waits"), key
    return found
