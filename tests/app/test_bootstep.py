"""What the package does in a worker's main process."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery, Task
from celery.events import EventDispatcher

from celery_defer import step
from celery_defer.app.bootstep import RelayStep
from celery_defer.run import listeners
from tests.support.inside import WatchedStore, Worker


@pytest.fixture(autouse=True)
def unknown() -> Iterator[None]:
    yield
    listeners.forget()


def dispatcher(app: Celery, groups: list[str] | None, *, enabled: bool = True) -> Any:
    with app.connection_for_write() as connection:
        events = EventDispatcher(connection, enabled=False, groups=groups, app=app)
    events.enabled = enabled
    return events


@pytest.mark.parametrize(
    ("groups", "enabled", "is_sent"),
    [
        pytest.param(None, True, True, id="events of tasks: -E"),
        pytest.param(["worker"], True, False, id="heartbeats alone"),
        pytest.param(["worker", "task"], True, True, id="turned on by celery control"),
        pytest.param(None, False, False, id="turned off"),
    ],
)
def test_a_run_that_parks_sends_an_event_where_its_worker_sends_those_of_tasks(
    app: Celery,
    worker: Worker,
    store: WatchedStore,
    monkeypatch: pytest.MonkeyPatch,
    groups: list[str] | None,
    enabled: bool,
    is_sent: bool,
) -> None:
    @app.task(name="napping", shared=False)
    def napping() -> None:
        step.sleep("nap", 60)

    sent: list[str] = []
    monkeypatch.setattr(Task, "send_event", lambda _, event, **__: sent.append(event))
    consumer = SimpleNamespace(event_dispatcher=dispatcher(app, groups, enabled=enabled))

    RelayStep(SimpleNamespace(app=app, consumer=consumer))._relay._tick()
    result = worker.run(napping)

    assert result.state == "WAITING"
    assert (sent == ["task-waiting"]) is is_sent


@pytest.mark.parametrize("consumer", [None, SimpleNamespace(event_dispatcher=None)])
def test_a_run_that_parks_while_its_worker_still_connects_sends_an_event(
    app: Celery, store: WatchedStore, consumer: Any
) -> None:
    """The relay's first look is earlier than the worker's dispatcher of events."""
    RelayStep(SimpleNamespace(app=app, consumer=consumer))._relay._tick()

    assert listeners.may_listen()


def test_outside_a_worker_an_event_may_reach_somebody() -> None:
    assert listeners.may_listen()
