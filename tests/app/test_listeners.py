"""A run that parks is announced where the events of the worker's tasks may be heard."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery

from celery_defer.app.bootstep import RelayStep
from celery_defer.run import listeners
from tests.support.inside import WatchedStore


@pytest.fixture(autouse=True)
def _unknown() -> Iterator[None]:
    listeners.forget()
    yield
    listeners.forget()


def tick(app: Celery, events: Any) -> None:
    """Let the relay of a worker look, whose consumer has this dispatcher of events."""
    step = RelayStep(SimpleNamespace(app=app, consumer=SimpleNamespace(event_dispatcher=events)))
    assert step._relay is not None
    step._relay._tick()


@pytest.mark.parametrize(
    ("enabled", "groups", "may_listen"),
    [
        pytest.param(True, None, True, id="events of tasks: -E"),
        pytest.param(True, ["worker"], False, id="heartbeats alone"),
        pytest.param(True, ["worker", "task"], True, id="turned on by celery control"),
        pytest.param(False, None, False, id="none at all"),
    ],
)
def test_runs_are_announced_by_a_worker_that_tells_of_tasks(
    app: Celery, store: WatchedStore, enabled: bool, groups: list[str] | None, may_listen: bool
) -> None:
    with app.connection_for_write() as connection:
        events = app.events.Dispatcher(connection, enabled=False, groups=groups)
        events.enabled = enabled
        tick(app, events)

    assert listeners.may_listen() == may_listen


def test_a_run_that_parks_while_its_worker_still_connects_is_announced(
    app: Celery, store: WatchedStore
) -> None:
    tick(app, None)

    assert listeners.may_listen()
