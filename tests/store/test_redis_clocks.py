"""No decision is made by a client's clock: that of Redis counts."""

from __future__ import annotations

from time import time

import pytest
from celery import Celery
from redis import Redis

from celery_defer import step
from celery_defer.ids import RunId
from celery_defer.outbox import Relay
from celery_defer.store import RedisStore
from celery_defer.testing.store_contract.shorthand import (
    KEEP,
    PARKED,
    RUN,
    SHAPE,
    emit,
    event,
    park,
    past,
    wait_for,
)
from tests.support.inside import Worker
from tests.support.one_redis import app_on
from tests.support.redis import Server

HOUR, DAY = 3_600.0, 86_400.0
WRONG = pytest.mark.parametrize("ahead", [2 * HOUR, 8 * DAY, -2 * HOUR, -8 * DAY])
# redis-py says so of what Celery's result backend calls.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")


class Client:
    """The store as a client sees it whose clock is wrong."""

    def __init__(self, server: Server, ahead: float = 0) -> None:
        self.ahead = ahead
        self.store = RedisStore(server.client(db=2), "defer:", self.now)

    def now(self) -> float:
        return time() + self.ahead

    def take(self) -> list[RunId]:
        now = self.now()
        return [lease.id for lease in self.store.take(now, now + 30, 10)]

    def park(self, seconds: float) -> None:
        park(self.store, now=self.now(), due=self.now() + seconds)


@WRONG
def test_an_hours_sleep_ends_after_an_hour_whoever_looks(
    server: Server, redis: Redis, ahead: float
) -> None:
    sleeper, relay = Client(server), Client(server, ahead)
    sleeper.park(HOUR)

    assert relay.take() == []
    assert relay.store.next_due() == pytest.approx(relay.now() + HOUR, abs=5)
    assert relay.store.waiting(relay.now()) == 0


@WRONG
def test_an_hours_sleep_ends_after_an_hour_whoever_begins_it(
    server: Server, redis: Redis, ahead: float
) -> None:
    sleeper, relay = Client(server, ahead), Client(server)
    sleeper.park(HOUR)

    assert relay.store.next_due() == pytest.approx(relay.now() + HOUR, abs=5)


def test_a_whole_run_sleeps_its_hour_beside_a_relay_that_is_two_hours_ahead(
    server: Server, redis: Redis
) -> None:
    app = app_on(server)

    @app.task(name="nap", shared=False)
    def nap() -> None:
        step.sleep("an hour", "1h")

    result = Worker(app).run(nap)
    ahead: Celery = app_on(server)
    extension = ahead._celery_defer
    extension.clock = lambda: time() + 2 * HOUR

    assert Relay(ahead, extension.store, extension.settings).tick(extension.clock()) == 0
    assert result.state == "WAITING"


@WRONG
def test_a_lease_lasts_for_as_long_as_it_was_taken(
    server: Server, redis: Redis, ahead: float
) -> None:
    one, other = Client(server), Client(server, ahead)
    one.park(-1)

    assert one.take() == [RUN]
    assert other.take() == []
    assert other.store.next_due() == pytest.approx(other.now() + 30, abs=5)


@WRONG
def test_a_sender_whose_clock_is_wrong_erases_no_event(
    server: Server, redis: Redis, ahead: float
) -> None:
    right, wrong = Client(server), Client(server, ahead)
    emit(right.store, event("first", at=right.now()), keep=DAY)
    emit(wrong.store, event("second", at=wrong.now()), keep=DAY)

    kept = past(right.store, since=time() - 60, before=time() + 60)
    assert [each.id for each in kept] == ["first", "second"]


@WRONG
def test_an_event_is_received_whatever_the_clock_of_its_sender_says(
    server: Server, redis: Redis, ahead: float
) -> None:
    waiter, sender = Client(server), Client(server, ahead)
    since = waiter.store.recall(RUN, waiter.now(), KEEP).since
    emit(sender.store, event("sent", at=sender.now()))

    wait = wait_for(since=since, oldest=waiter.now() - DAY)
    assert park(waiter.store, now=waiter.now(), wait=wait).memo == b"sent"


@WRONG
def test_an_event_is_received_whatever_the_clock_of_who_waits_says(
    server: Server, redis: Redis, ahead: float
) -> None:
    waiter, sender = Client(server, ahead), Client(server)
    since = waiter.store.recall(RUN, waiter.now(), KEEP).since
    emit(sender.store, event("sent", at=sender.now()))

    wait = wait_for(since=since, oldest=waiter.now() - DAY)
    assert park(waiter.store, now=waiter.now(), wait=wait).memo == b"sent"


def test_what_a_body_sends_after_it_has_deferred_a_run_is_for_that_run(
    server: Server, redis: Redis
) -> None:
    """Its clock may be a little ahead of that of Redis: all machines' clocks are."""
    parent, waiter = Client(server, 2), Client(server)
    deferred_at = parent.now()
    emit(parent.store, event("sent", at=parent.now()))

    wait = wait_for(since=deferred_at, oldest=waiter.now() - DAY)
    assert park(waiter.store, now=waiter.now(), wait=wait).memo == b"sent"


@WRONG
def test_a_shape_is_known_since_the_server_says(server: Server, redis: Redis, ahead: float) -> None:
    wrong = Client(server, ahead)

    first = park(wrong.store, now=wrong.now(), wait=wait_for("one", SHAPE), early=None)

    assert first.known_since == pytest.approx(time() + 60, abs=5)
    later = wait_for("two", SHAPE, since=first.known_since)
    assert park(wrong.store, now=wrong.now(), wait=later, early=None) == PARKED


def test_the_alarm_says_in_how_many_seconds(server: Server, redis: Redis) -> None:
    sleeper, relay = Client(server), Client(server, 2 * HOUR)
    alarm = relay.store.alarm()
    alarm.wait(5)
    sleeper.park(10)

    assert alarm.wait(5) == pytest.approx(relay.now() + 10, abs=5)
    alarm.close()
