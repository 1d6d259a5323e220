"""``step.send_event``: a step sends its event once in a run."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from celery import Celery
from pydantic import BaseModel

from celery_defer import Event, EventError, step
from celery_defer.testing import Simulation
from tests.support.inside import WatchedStore, Worker


class Purchase(BaseModel):
    order: UUID
    total: Decimal
    at: datetime | None = None


purchase = Event("purchase/completed", Purchase)


def test_a_step_sends_its_event_once_in_a_run(app: Celery, waiter: Any, sim: Simulation) -> None:
    answers = []

    @app.task
    def parent() -> None:
        answers.append(step.send_event("tell", "event", 1))
        step.sleep("nap", 5)

    first = sim.run(waiter)
    sim.run(parent)
    sim.advance(1)
    second = sim.run(waiter)
    sim.advance("1h")

    assert answers == [1, 1]
    assert first.result == 1
    assert second.result is None


def test_each_run_and_each_step_sends_an_event_of_its_own(app: Celery, sim: Simulation) -> None:
    @app.task
    def parent() -> None:
        for _ in range(2):
            step.send_event("tell\nall", "event", 1)

    @app.task
    def receiver() -> list[Any]:
        events = [step.wait_for_event("wait", "event", timeout=60) for _ in range(5)]
        return [each.id for each in events if each]

    run = sim.run(receiver)
    for _ in range(2):
        assert sim.run(parent).state == "SUCCESS"
        sim.drain()
    sim.advance("1h")

    assert len(set(run.result)) == 4


def test_a_step_that_died_after_sending_does_not_send_again(
    app: Celery, worker: Worker, store: WatchedStore
) -> None:
    @app.task
    def parent() -> int:
        return step.send_event("tell", "event", 1)

    @app.task
    def receiver() -> list[Any]:
        events = [step.wait_for_event("wait", "event", timeout=60) for _ in range(2)]
        return [each and each.data for each in events]

    received = worker.run(receiver)
    store.away = {"remember"}
    result = worker.run(parent)
    store.away = set()
    worker.drain()
    worker.wake(60)

    assert result.state == "SUCCESS"
    assert received.result == [1, None]


def test_a_step_sends_a_typed_event(app: Celery, sim: Simulation) -> None:
    @app.task
    def parent(total: Any) -> int:
        return step.send_event("tell", purchase, Purchase(order=UUID(int=1), total=total))

    @app.task
    def bad() -> int:
        return step.send_event("tell", purchase, 3)  # type: ignore[arg-type]

    assert sim.run(parent, 2).result == 0
    assert isinstance(sim.run(bad).exception, EventError)


def test_a_run_does_not_wait_for_itself_in_vain(app: Celery, sim: Simulation) -> None:
    @app.task
    def parent() -> Any:
        step.send_event("tell", "event", 1)
        event = step.wait_for_event("wait", "event", timeout=60)
        return event and event.data

    assert sim.run(parent).result == 1


def test_a_step_that_sends_too_much_is_named(app: Celery, sim: Simulation) -> None:
    app.conf.defer_max_payload_bytes = 9
    told = []

    @app.task
    def parent() -> None:
        try:
            step.send_event("tell", "event", "12345678")
        except EventError as error:
            told.append(str(error))
        step.sleep("nap", 5)

    sim.run(parent)
    sim.advance("1h")

    assert len(told) == 2
    assert told[0] == told[1]
    assert told[0].startswith("step 'tell': event 'event' (")
