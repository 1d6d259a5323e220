"""Tests of the gates at which one run stands for a key."""

from __future__ import annotations

from dataclasses import replace

from celery_defer.flow import Drop, Gate, Go, Kind, Later, Reason
from celery_defer.ids import RunId
from celery_defer.store import Store
from celery_defer.testing.store_contract.shorthand import park
from celery_defer.testing.store_contract.traffic import DAY, LEASE, Clock, Traffic, concurrency

ONCE = Gate(Kind.IDEMPOTENCY, "idempotency", "k", period=100.0)
ALONE = Gate(Kind.SINGLETON, "singleton", "k")
NEWEST = Gate(Kind.SINGLETON, "singleton", "k", cancels=True)


def not_alone(by: str) -> Drop:
    return Drop(Reason.SINGLETON, "singleton", "k", RunId(by))


class MarkContract:
    """Tests of singleton and idempotency."""

    # -- idempotency ----------------------------------------------------------------

    def test_one_run_starts_in_a_period(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        assert traffic.arrive("a", ONCE) == Go()
        traffic.end("a")
        clock.move(99)

        by = Drop(Reason.IDEMPOTENCY, "idempotency", "k", RunId("a"))
        assert traffic.arrive("b", ONCE) == by
        clock.move(1)
        assert traffic.arrive("c", ONCE) == Go()

    def test_a_run_is_not_dropped_because_of_itself(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)

        assert [traffic.arrive("a", ONCE, ALONE) for _ in range(3)] == [Go()] * 3

    # -- singleton ------------------------------------------------------------------

    def test_a_singleton_is_alone_from_its_arrival_to_its_end(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("busy", concurrency(1))
        traffic.arrive("a", ALONE, concurrency(1))
        clock.move(2 * LEASE)

        assert traffic.arrive("b", ALONE, concurrency(1)) == not_alone("a")
        assert traffic.drain() == ["a"]
        traffic.come("a")
        assert traffic.arrive("c", ALONE) == not_alone("a")
        traffic.end("a")
        assert traffic.arrive("d", ALONE) == Go()

    def test_a_singleton_that_sleeps_is_still_the_one(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", ALONE)
        park(store, "a", due=clock.now + 500, now=clock.now)
        traffic.end("a", idle=0.0)
        clock.move(400)

        assert traffic.arrive("b", ALONE) == not_alone("a")

    def test_a_singleton_that_is_tried_again_later_is_still_the_one(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", ALONE)
        traffic.end("a", idle=300.0)
        clock.move(300 + LEASE - 1)
        assert traffic.arrive("b", ALONE) == not_alone("a")

        clock.move(1)
        assert traffic.arrive("c", ALONE) == Go()

    def test_a_singleton_whose_worker_is_dead_is_missed_by_nobody(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", ALONE)
        clock.move(LEASE - 1)
        assert traffic.renew("a") == []
        clock.move(LEASE - 1)
        assert traffic.arrive("b", ALONE) == not_alone("a")

        clock.move(1)
        assert traffic.arrive("c", ALONE) == Go()
        assert traffic.renew("a") == ["a"]

    def test_a_singleton_that_the_store_has_lost_is_the_one_again(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        traffic.ask("a", ALONE)

        assert traffic.renew("a") == []
        assert traffic.arrive("b", ALONE) == not_alone("a")

    def test_a_singleton_that_has_ended_is_not_the_one_again(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", ALONE)
        traffic.end("a")

        assert traffic.renew("a") == ["a"]
        assert traffic.arrive("b", ALONE) == Go()

    def test_a_singleton_that_comes_again_after_it_was_missed_is_dropped(
        self, store: Store, clock: Clock
    ) -> None:
        for gate in (ALONE, replace(NEWEST, name="newest")):
            traffic = Traffic(store, clock, task=gate.name)
            traffic.arrive("a" + gate.name, gate)
            clock.move(LEASE)
            traffic.arrive("b" + gate.name, gate)

            by = Drop(Reason.SINGLETON, gate.name, "k", RunId("b" + gate.name))
            assert traffic.arrive("a" + gate.name, gate) == by

    def test_a_later_run_cancels_the_one_before(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        assert traffic.arrive("a", NEWEST) == Go()

        assert traffic.arrive("b", NEWEST) == Go(cancels=RunId("a"))
        assert traffic.renew("a", "b") == []
        traffic.end("a")
        assert traffic.arrive("c", NEWEST) == Go(cancels=RunId("b"))

    def test_an_earlier_run_that_comes_after_a_later_one_is_dropped(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("b", NEWEST)

        assert traffic.arrive("a", NEWEST, age=1.0) == not_alone("b")
        assert traffic.arrive("c", NEWEST) == Go(cancels=RunId("b"))

    def test_a_later_run_that_has_waited_is_not_cancelled_by_an_earlier_one(
        self, store: Store, clock: Clock
    ) -> None:
        traffic, one = Traffic(store, clock), concurrency(1)
        traffic.arrive("busy", one)
        traffic.arrive("b", NEWEST, one)
        traffic.end("busy")
        clock.move(5)
        traffic.come("b", NEWEST, one)
        clock.move(5)

        assert traffic.arrive("a", NEWEST, one, age=11.0) == not_alone("b")

    def test_an_earlier_run_whose_key_is_free_starts(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("b", NEWEST)
        traffic.end("b")

        assert traffic.arrive("a", NEWEST, age=1.0) == Go()

    def test_a_later_run_that_has_to_wait_cancels_the_one_before(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", NEWEST, concurrency(1))

        admission = traffic.arrive("b", NEWEST, concurrency(1))
        assert admission == Later("concurrency", cancels=RunId("a"))

    def test_whom_a_run_cancels_is_told_to_each_delivery_until_that_has_ended(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", NEWEST)
        traffic.arrive("b", NEWEST)

        assert traffic.arrive("b", NEWEST) == Go(cancels=RunId("a"))
        traffic.end("a")
        assert traffic.arrive("b", NEWEST) == Go()

    def test_a_run_that_was_held_back_is_told_whom_it_cancels_until_it_has_begun(
        self, store: Store, clock: Clock
    ) -> None:
        for goes_on in (False, True):
            traffic = Traffic(store, clock, task=f"task-{goes_on}")
            first, second = f"a-{goes_on}", f"b-{goes_on}"
            for run in (first, second):
                traffic.arrive(run, NEWEST, concurrency(1))
            traffic.end(first, idle=DAY)

            cancels = None if goes_on else RunId(first)
            admission = traffic.come(second, NEWEST, concurrency(1), goes_on=goes_on)
            assert admission == Go(cancels=cancels)

    def test_a_run_that_is_dropped_is_not_the_one(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        never = Gate(Kind.RATE_LIMIT, "rate_limit", limit=0, period=10.0)

        assert isinstance(traffic.arrive("a", ONCE, ALONE, never), Drop)
        assert traffic.arrive("b", ONCE, ALONE) == Go()
