"""``send_event``: what may be sent, and what whoever sends is told."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from celery import Celery

from celery_defer import Event, EventError, StoreError, send_event, step
from celery_defer.testing import Simulation
from tests.support.inside import WatchedStore, Worker


@pytest.fixture
def waiter(app: Celery) -> Any:
    """A task that waits for an event, and returns the data of the one that it receives."""

    @app.task(name="waiter")
    def waiter(match: Any = None, timeout: Any = 3_600) -> Any:
        event = step.wait_for_event("wait", "event", timeout=timeout, match=match)
        return event and event.data

    return waiter


def test_the_same_id_counts_once_for_a_name(waiter: Any, sim: Simulation) -> None:
    first = sim.run(waiter)
    assert send_event("event", 1, id="e") == 1
    sim.advance(1)
    second = sim.run(waiter)

    assert send_event("event", 2, id="e") == 0
    assert send_event("other", 2, id="e") == 0
    assert second.state == "WAITING"
    assert send_event("event", 3, id="f") == 1
    assert first.result == 1


def test_who_sends_an_event_again_is_told_so(waiter: Any, sim: Simulation) -> None:
    nobody = send_event("event", 1, id="e")
    repeat = send_event("event", 1, id="e")

    assert (nobody, nobody.is_repeat) == (0, False)
    assert (repeat, repeat.is_repeat) == (0, True)


def test_what_sending_returns_counts_and_compares_as_an_int(waiter: Any, sim: Simulation) -> None:
    sim.run(waiter)
    woken = send_event("event", 1)

    assert isinstance(woken, int)
    assert (woken + 1, json.dumps(woken), f"{woken}") == (2, "1", "1")
    assert pickle.loads(pickle.dumps(woken)).is_repeat is False


@pytest.mark.parametrize(("keep", "received"), [("10m", False), ("12m", True), (0, False)])
def test_an_event_may_say_for_how_long_it_is_kept(
    app: Celery, sim: Simulation, keep: Any, received: bool
) -> None:
    tick = Event("tick", int, keep=keep)

    @app.task
    def late() -> bool:
        step.sleep("nap", "11m")
        return step.wait_for_event("wait", tick, timeout=60) is not None

    run = sim.run(late)
    send_event(tick, 1)
    sim.advance("1h")

    assert run.result is received


@pytest.mark.parametrize("keep", [-1, "soon", float("nan"), object()])
def test_an_event_cannot_be_kept_for_what_is_no_duration(keep: Any) -> None:
    with pytest.raises(EventError, match="event 'event' cannot be kept for"):
        Event("event", int, keep=keep)


@pytest.mark.parametrize("id", ["", "a\nb", 3])
def test_an_id_is_a_line_of_text(sim: Simulation, id: Any) -> None:
    with pytest.raises(EventError, match="is no id of an event"):
        send_event("event", id=id)
    assert sim.events == []


@pytest.mark.parametrize("data", [object(), {object()}, {"a": lambda: 1}])
def test_data_without_json_is_an_error(sim: Simulation, data: Any) -> None:
    with pytest.raises(EventError, match=r"event 'event' .* is not JSON"):
        send_event("event", data)
    assert sim.events == []


def test_without_a_store_an_event_is_an_error(app: Celery) -> None:
    assert app._celery_defer.store is None
    with pytest.raises(StoreError, match="set defer_store_url"):
        send_event("event")


def test_without_defer_an_event_is_an_error() -> None:
    Celery("plain", set_as_current=True)

    with pytest.raises(StoreError, match=r"no Defer\(app\)"):
        send_event("event")


def test_a_store_that_is_away_is_an_error_for_who_sends(store: WatchedStore) -> None:
    store.away = {"emit"}

    with pytest.raises(StoreError, match="event 'event' finds no store"):
        send_event("event")


def test_an_event_whose_wake_up_cannot_be_noted_is_sent_all_the_same(
    waiter: Any, worker: Worker, store: WatchedStore
) -> None:
    result = worker.run(waiter)
    store.away = {"expect"}
    assert send_event("event", 1) == 1
    store.away = set()
    worker.drain()
    worker.wake(30)

    assert result.result == 1


@pytest.mark.parametrize("limit", [9, 10])
def test_an_events_data_is_held_to_the_limit_of_payloads(
    app: Celery, sim: Simulation, limit: int
) -> None:
    app.conf.defer_max_payload_bytes = limit
    data = "ß" * 4  # 8 bytes, and the quotes

    if limit == 10:
        assert send_event("event", data) == 0
    else:
        with pytest.raises(EventError, match=r"event 'event' \(e-1\) has 10 bytes .*_bytes = 9 is"):
            send_event("event", data, id="e-1")


def test_a_store_that_is_away_is_told_with_its_place_and_the_fix(store: WatchedStore) -> None:
    store.away = {"emit"}

    with pytest.raises(
        StoreError, match=r"\(ConnectionError: the store is away\): send it again"
    ) as e:
        send_event("event")
    assert isinstance(e.value.__cause__, ConnectionError)
