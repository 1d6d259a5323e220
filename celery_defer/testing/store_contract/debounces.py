"""Tests of the gate at which the last of many calls runs."""

from __future__ import annotations

from celery_defer.flow import Drop, Gate, Go, Kind, Later, Reason
from celery_defer.ids import RunId
from celery_defer.store import Held, InLine, Store, in_place_of
from celery_defer.testing.store_contract.shorthand import KEEP
from celery_defer.testing.store_contract.traffic import Clock, Traffic, concurrency

LAST = Gate(Kind.DEBOUNCE, "debounce", "k", period=5.0, timeout=12.0)


def due(store: Store) -> list[float]:
    return [record.due for record in store.peek(9)]


class DebounceContract:
    """Tests of debounce."""

    # -- debounce -------------------------------------------------------------------

    def test_a_debounced_run_waits_for_its_period(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)

        assert traffic.arrive("a", LAST) == Later("debounce", "k", due=5.0)
        assert due(store) == [clock.now + 5.0]
        assert store.in_line([RunId("a")]) == [InLine("debounce", "k", 0, clock.now)]
        clock.move(5)
        assert traffic.come("a") == Go()

    def test_a_later_call_replaces_the_one_that_waits(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", LAST)
        clock.move(3)
        ask = traffic.ask("b", LAST)
        traffic.claim(ask)

        held = traffic.hold(ask)
        assert (held.replaced, held.left) == ("a", b"body")
        waits, ends = store.peek(9)
        assert (waits.id, waits.due, ends.id) == ("b", clock.now + 5.0, "a")
        assert store.in_line([RunId("a")]) == [None]
        resumed = store.resume(RunId("a"), 1, "task.a.9", KEEP, ask=traffic.ask("a"))
        assert not resumed.claim.is_mine
        assert resumed.claim.admission is None

    def test_a_relay_ends_the_run_that_was_replaced_if_nobody_else_has(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", LAST)
        traffic.arrive("b", LAST)
        clock.move(10)

        leased = {lease.id: lease for lease in store.take(clock.now, clock.now + 10, 9)}
        assert (leased[RunId("a")].is_cancelled, leased[RunId("a")].body) == (True, b"body")
        assert store.recall(RunId("a"), None, KEEP).why == in_place_of(RunId("b"))

    def test_a_run_waits_no_longer_than_the_timeout(self, store: Store, clock: Clock) -> None:
        traffic, first = Traffic(store, clock), clock.now
        for run in "abcd":
            traffic.arrive(run, LAST)
            clock.move(3)

        (waits,) = (record for record in store.peek(9) if record.id == "d")
        assert waits.due == first + 12.0

    def test_the_latest_call_wins_in_whatever_order_they_come(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("late", LAST, age=1.0)
        assert traffic.arrive("early", LAST, age=2.0) == Drop(
            Reason.REPLACED, "debounce", "k", RunId("late")
        )

        clock.move(5)
        traffic.come("late")
        assert traffic.arrive("first", LAST, age=9.0) == Drop(
            Reason.REPLACED, "debounce", "k", RunId("late")
        )
        assert traffic.arrive("next", LAST) == Later("debounce", "k", due=5.0)

    def test_calls_that_are_microseconds_apart_are_told_from_each_other(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        early = traffic.ask("early", LAST, age=0.0002)
        late = traffic.ask("late", LAST, age=0.0001)
        traffic.claim(early)
        traffic.claim(late)
        traffic.hold(late)
        clock.move(1)  # its worker is slow

        gone = Drop(Reason.REPLACED, "debounce", "k", RunId("late"))
        assert traffic.hold(early) == Held(gone)

    def test_a_clock_that_is_far_ahead_does_not_replace_what_comes_later(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("of the future", LAST, age=-3_600.0)
        clock.move(6)

        assert traffic.arrive("now", LAST) == Later("debounce", "k", due=5.0)

    def test_a_run_that_was_let_go_is_not_replaced(self, store: Store, clock: Clock) -> None:
        traffic, both = Traffic(store, clock), (LAST, concurrency(1))
        traffic.arrive("busy", concurrency(1))
        traffic.arrive("a", *both)
        clock.move(5)
        assert traffic.come("a") == Later("concurrency")

        assert traffic.arrive("b", *both) == Later("debounce", "k", due=5.0)
        assert traffic.end("busy") == ["a"]
        assert traffic.come("a") == Go()

    def test_a_retry_does_not_wait_for_the_debounce(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", LAST)
        clock.move(5)
        traffic.come("a")
        traffic.end("a", idle=1.0)
        traffic.arrive("b", LAST)

        assert traffic.come("a") == Go()

    def test_a_run_that_is_aborted_while_it_waits_replaces_nobody(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", LAST)
        traffic.give_back(traffic.ask("a"), None, ended=True)

        assert traffic.arrive("b", LAST, age=1.0) == Later("debounce", "k", due=5.0)

    def test_a_run_that_was_cancelled_before_it_waits_replaces_nobody(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", LAST)
        ask = traffic.ask("b", LAST)
        traffic.claim(ask)
        store.cancel(RunId("b"), KEEP, clock.now + 30)

        assert traffic.hold(ask).replaced is None
        assert store.in_line([RunId("a"), RunId("b")])[1] is None
        clock.move(5)
        assert traffic.come("a") == Go()
