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
from celery_defer.errors import SettingsError
from celery_defer.run import listeners
from examples.redis_server import free_port
from tests.support.inside import WatchedStore, Worker
from tests.support.redis import running


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


@pytest.fixture
def relay(app: Celery, store: WatchedStore) -> Any:
    """The relay's thread, not started, of an app that names a Redis."""
    app.conf.defer_store_url = "redis://:secret@store.example:6379/1"
    return RelayStep(SimpleNamespace(app=app))._relay


def test_a_store_that_is_away_is_told_of_in_one_line_and_once(
    relay: Any, store: WatchedStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.away = {"take", "risks"}
    relay._warn_of_risks()
    for _ in range(5):
        relay._tick()

    (record,) = caplog.records
    assert "(defer_store_url = 'redis://**@store.example:6379/1'): ConnectionError" in caplog.text
    assert record.exc_info is False or record.exc_info is None
    assert "secret" not in caplog.text


def test_an_error_that_nobody_expected_has_its_traceback_once(
    relay: Any, caplog: pytest.LogCaptureFixture
) -> None:
    relay._revoked = None
    for _ in range(5):
        relay._tick()

    assert caplog.text.count("Traceback") == 1


def test_a_store_that_is_back_is_told_of_once(
    relay: Any, store: WatchedStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.away = {"take"}
    relay._tick()
    store.away = set()
    for _ in range(5):
        relay._tick()

    assert caplog.text.count("the store can be used again") == 1


def test_a_redis_cluster_is_refused_at_the_start(app: Celery) -> None:
    # Its nodes talk on a port 10,000 higher.
    port = next(port for port in iter(free_port, 0) if port < 55_000)
    with running("--cluster-enabled", "yes", "--port", str(port)):
        app.conf.defer_store_url = f"redis://127.0.0.1:{port}"

        with pytest.raises(SettingsError, match=r"defer_store_url = .* is a Redis Cluster"):
            RelayStep(SimpleNamespace(app=app))


def test_a_redis_that_is_away_lets_the_worker_start(app: Celery) -> None:
    app.conf.defer_store_url = f"redis://127.0.0.1:{free_port()}"

    assert RelayStep(SimpleNamespace(app=app))._relay is not None


def test_outside_a_worker_an_event_may_reach_somebody() -> None:
    assert listeners.may_listen()
