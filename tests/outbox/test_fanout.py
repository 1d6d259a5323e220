"""An event that many wait for is sent in waves; if its sender dies, a relay goes on."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import send_event
from celery_defer.errors import RecordError
from celery_defer.ids import RunId
from celery_defer.outbox import ParkedRun, pack, unpack
from celery_defer.outbox.relay import Relay
from celery_defer.outbox.wake import LEASE
from celery_defer.store import MemoryStore, Parking, Subscription, match
from tests.support.inside import Worker

MANY = 1_100


class Dying(MemoryStore):
    """Is away once so many waves are sent."""

    waves = 99

    def emit(self, *args: Any, **kwargs: Any) -> Any:
        self.waves -= 1
        if self.waves < 0:
            raise ConnectionError
        return super().emit(*args, **kwargs)


@pytest.fixture
def store(app: Celery) -> Dying:
    app._celery_defer.store = store = Dying()
    wait = Subscription("spring", "[]", match("spring", None).digest, 0)
    for number in range(MANY):
        id = RunId(f"run-{number}")
        body = pack(ParkedRun(id, "nap", 1, options={"queue": app.conf.task_default_queue}))
        store.park(id, Parking(0, "wait", b"[]", "token", body, 9e9, wait), 1, 600)
    return store


def relay_of(app: Celery) -> Relay:
    return Relay(app, app._celery_defer.store, app._celery_defer.settings)


def test_a_sender_is_not_held_up_by_a_crowd_and_is_told_so(
    app: Celery, worker: Worker, store: Dying
) -> None:
    woken = send_event("spring")

    assert (woken, woken.has_more) == (100, True)
    assert len(worker.published()) == 100


def test_a_relay_wakes_the_others_at_once_and_nothing_is_left(
    app: Celery, worker: Worker, store: Dying
) -> None:
    send_event("spring")
    relay_of(app).tick(app._celery_defer.clock())

    assert len(worker.published()) == MANY
    assert store.waiting(worker.now + LEASE) == 0


def test_a_relay_goes_on_where_another_has_died(app: Celery, worker: Worker, store: Dying) -> None:
    store.waves = 2
    send_event("spring")
    relay_of(app).tick(app._celery_defer.clock())
    woken_at_first = len(worker.published())
    store.waves = 99

    relay_of(app).tick(app._celery_defer.clock() + LEASE)

    assert woken_at_first == 600
    assert len(worker.published()) == MANY - 600
    assert store.waiting(worker.now + 2 * LEASE) == 0


def test_what_is_no_event_is_an_error() -> None:
    with pytest.raises(RecordError, match="the record cannot be read: id: Field required"):
        unpack(RunId("event:x"), b"F\x01{}")


def test_what_is_left_is_in_the_outbox_before_the_first_wave_is_published(
    app: Celery, worker: Worker, store: Dying, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:  # as if by SIGKILL, with the broker's connection in hand
        patch.setattr(type(app.producer_pool), "acquire", die)
        with pytest.raises(Killed):
            send_event("spring")

    for _ in range(20):
        relay_of(app).tick(app._celery_defer.clock() + LEASE)
    assert len(worker.published()) == MANY
