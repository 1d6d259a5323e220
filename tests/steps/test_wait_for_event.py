"""``step.wait_for_event``: a run waits, and receives the first event that matches."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from celery import Celery
from pydantic import BaseModel

from celery_defer import Event, EventError, Received, StepError, send_event, step
from celery_defer.testing import Simulation, Waiting
from tests.support.inside import WatchedStore, Worker


class Purchase(BaseModel):
    order: UUID
    total: Decimal
    at: datetime | None = None


purchase = Event("purchase/completed", Purchase)


@dataclass(frozen=True)
class Click:
    x: int
    raw: bytes = b"\xff"


def test_a_wait_answers_the_event(app: Celery, sim: Simulation) -> None:
    events = []

    @app.task
    def parent() -> None:
        events.append(step.wait_for_event("wait", "event", timeout=60))
        step.sleep("nap", 5)

    sim.run(parent)
    sim.advance(10)
    assert send_event("event", {"n": [1]}, id="e-1") == 1
    at = sim.now
    sim.advance("1h")

    expected = Received("e-1", "event", at, {"n": [1]})
    assert events == [expected, expected]


def test_a_wait_answers_none_when_its_time_is_over(app: Celery, sim: Simulation) -> None:
    events = []

    @app.task
    def parent() -> str:
        events.append(step.wait_for_event("wait", "event", timeout="1m"))
        step.sleep("nap", 5)
        return "done"

    run = sim.run(parent)
    sim.advance(59)
    assert run.state == "WAITING"
    sim.advance(1)
    assert run.waits_for == Waiting("nap", "sleep", sim.now + timedelta(seconds=5))
    sim.advance(5)

    assert run.result == "done"
    assert events == [None, None]


@pytest.mark.parametrize("timeout", [0, -1, "0s"])
def test_a_wait_without_time_looks_for_early_events_alone(
    app: Celery, sim: Simulation, timeout: Any
) -> None:
    @app.task
    def parent() -> list[Any]:
        step.sleep("nap", 5)
        events = [step.wait_for_event("wait", "event", timeout=timeout) for _ in range(2)]
        return [each and each.data for each in events]

    run = sim.run(parent)
    send_event("event", 1)
    sim.advance("1h")

    assert run.result == [1, None]


def test_a_waiting_run_tells_what_it_waits_for(app: Celery, waiter: Any, sim: Simulation) -> None:
    run = sim.run(waiter, {"user.id": UUID(int=1)}, 60)

    until = (sim.now + timedelta(seconds=60)).isoformat(timespec="milliseconds")
    assert app.AsyncResult(run.id).info == {
        "step": "wait",
        "waiting_for": "event",
        "event": "event",
        "match": {"user.id": str(UUID(int=1))},
        "until": until,
    }


def test_one_event_wakes_every_matching_wait_and_no_other(waiter: Any, sim: Simulation) -> None:
    matches = [None, {"n": 1}, {"n": 2}, {"n": 1, "m.0": "a"}, {"m.0": "b"}, {"n": 1.0}]
    results = [sim.run(waiter, match) for match in matches]

    woken = send_event("event", {"n": 1, "m": ["a"]})
    sim.drain()

    assert woken == 4
    assert [each.state for each in results] == [
        "SUCCESS", "SUCCESS", "WAITING", "SUCCESS", "WAITING", "SUCCESS",
    ]  # fmt: skip


def test_an_event_of_another_name_wakes_nobody(waiter: Any, sim: Simulation) -> None:
    run = sim.run(waiter)

    assert send_event("events") == 0
    assert run.state == "WAITING"


def test_an_event_without_data_is_an_event(waiter: Any, app: Celery, sim: Simulation) -> None:
    events = []

    @app.task
    def parent() -> None:
        events.append(step.wait_for_event("wait", "event", timeout=60))

    sim.run(parent)
    assert send_event("event") == 1
    sim.drain()

    assert events[0].data is None
    assert UUID(events[0].id)


class NarrowStore(WatchedStore):
    """Wakes two runs at most by one question."""

    def __getattr__(self, name: str) -> Any:
        ask = super().__getattr__(name)
        return partial(self._emit, ask) if name == "emit" else ask

    def _emit(self, ask: Any, *args: Any, **kwargs: Any) -> Any:
        return ask(*args, **{**kwargs, "limit": 2})


def test_more_runs_than_one_question_takes_are_all_woken(
    app: Celery, waiter: Any, worker: Worker
) -> None:
    app._celery_defer.store = store = NarrowStore()
    results = [worker.run(waiter) for _ in range(5)]

    assert send_event("event", 1, id="e") == 2
    worker.wake(0)
    assert store.asked.count("emit") == 3
    assert send_event("event", 1, id="e").is_repeat

    assert {each.result for each in results} == {1}


def test_two_events_wake_a_run_once_and_the_first_counts(waiter: Any, sim: Simulation) -> None:
    run = sim.run(waiter)

    assert [send_event("event", n) for n in (1, 2)] == [1, 0]
    assert sim.drain() == [run]

    assert run.result == 1
    assert sim.advance(3_600) == []


@pytest.mark.usefixtures("store")
def test_each_wait_of_a_run_receives_another_event(app: Celery, worker: Worker) -> None:
    @app.task
    def parent() -> list[Any]:
        events = [step.wait_for_event("wait", "event", timeout=60) for _ in range(3)]
        return [each and each.data for each in events]

    result = worker.run(parent)
    for n in range(3):
        worker.now += 1
        send_event("event", n)
    worker.drain()

    assert result.result == [0, 1, 2]


def test_a_timed_out_wait_leaves_the_event_to_the_next_wait(app: Celery, sim: Simulation) -> None:
    @app.task
    def parent() -> list[Any]:
        events = [step.wait_for_event("wait", "event", timeout=10) for _ in range(2)]
        return [each and each.data for each in events]

    run = sim.run(parent)
    sim.advance(10)
    send_event("event", 1)
    sim.drain()

    assert run.result == [None, 1]


@pytest.mark.usefixtures("store")
def test_an_event_between_a_wake_up_and_its_pass_is_still_the_steps(
    waiter: Any, worker: Worker
) -> None:
    result = worker.run(waiter, None, 60)
    (message,) = worker.later(60)

    send_event("event", 1)
    worker.trace(message)

    assert result.state == "SUCCESS"


def test_a_typed_event_is_received_as_it_was_sent(app: Celery, sim: Simulation) -> None:
    payloads = []

    @app.task
    def parent() -> None:
        event = step.wait_for_event(
            "wait", purchase, timeout=60, match={"order": UUID(int=1), "total": Decimal("1.50")}
        )
        payloads.append(event and event.data)
        step.sleep("nap", 5)

    sim.run(parent)
    at = datetime(2030, 1, 1, tzinfo=timezone.utc)
    assert send_event(purchase, Purchase(order=UUID(int=2), total=Decimal("1.50"))) == 0
    sent = Purchase(order=UUID(int=1), total=Decimal("1.50"), at=at)
    assert send_event(purchase, sent) == 1
    sim.advance("1h")

    assert payloads == [sent, sent]


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        (Click, Click(1)),
        (int, 2**70),
        (bytes, b"\xff\x00"),
        (list[UUID], [UUID(int=1)]),
        (dict[str, Decimal], {"a": Decimal("0.10")}),
        (datetime, datetime(2030, 1, 1, tzinfo=timezone.utc)),
    ],
)
def test_data_of_any_type_of_pydantics_comes_back_equal(
    app: Celery, sim: Simulation, schema: Any, data: Any
) -> None:
    declared, payloads = Event("event", schema), []

    @app.task
    def parent() -> None:
        event = step.wait_for_event("wait", declared, timeout=60)
        payloads.append(event and event.data)

    sim.run(parent)
    send_event(declared, data)
    sim.drain()

    assert payloads == [data]


def test_untyped_data_that_a_typed_wait_cannot_read_is_an_error_that_names_the_step(
    app: Celery, sim: Simulation
) -> None:
    @app.task
    def parent() -> None:
        step.wait_for_event("wait", purchase, timeout=60)

    run = sim.run(parent)
    send_event("purchase/completed", {"order": "x"}, id="e-1")
    sim.drain()

    assert isinstance(run.exception, StepError)
    assert "step 'wait' has received event 'purchase/completed' (e-1)" in str(run.exception)
    assert "total: Field required" in str(run.exception)


@pytest.mark.parametrize(
    ("event", "match"),
    [
        ("", None),
        ("event", 3),
        ("event", {"": 1}),
        (purchase, {"of": 1}),
        (purchase, {"total": "x"}),
    ],
)
def test_a_wait_that_cannot_be_one_names_its_step(
    app: Celery, sim: Simulation, event: Any, match: Any
) -> None:
    @app.task
    def parent() -> None:
        step.wait_for_event("first", event, timeout=60, match=match)

    error = sim.run(parent).exception

    assert type(error) is EventError
    assert str(error).startswith("step 'first': ")
