"""Tests of places: who gives them back, and who loses them."""

from __future__ import annotations

from celery_defer.flow import Go, Later
from celery_defer.ids import RunId
from celery_defer.store import Store
from celery_defer.testing.store_contract.shorthand import park
from celery_defer.testing.store_contract.traffic import (
    LEASE,
    Clock,
    Traffic,
    concurrency,
    throttle,
)

ONE = concurrency(1)


class PlaceContract:
    """Tests of ``give_back`` and ``renew``."""

    # -- give_back ------------------------------------------------------------------

    def test_only_as_many_are_let_through_as_the_caller_can_publish(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        three = concurrency(3)
        for run in "abcdef":
            traffic.arrive(run, three)
        for run in "bc":
            ask = traffic.asks[run]
            traffic.give_back(ask, ask.token, ended=True, limit=0)

        ask = traffic.asks["a"]
        assert traffic.give_back(ask, ask.token, ended=True, limit=2) == ["d", "e"]
        assert store.flow_due() == clock.now
        assert traffic.drain() == ["f"]

    def test_a_delivery_gives_back_its_own_place_only(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        two = concurrency(2)
        traffic.arrive("a", two)
        first = traffic.asks["a"]
        assert traffic.claim(traffic.ask("a", two)).admission == Go()

        traffic.end("a", idle=0.0)
        assert traffic.running() == 1
        traffic.give_back(first, None, ended=False)
        assert traffic.running() == 0

    def test_a_run_that_was_let_through_and_is_aborted_gives_back_its_place(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        for run in "abc":
            traffic.arrive(run, ONE)
        traffic.end("a")

        now = clock.now
        leased = store.give_back(
            RunId("b"), "task", (), None, ended=True, now=now, until=now + 10, limit=9
        )
        assert [lease.id for lease in leased] == ["c"]

    def test_the_end_of_a_run_ends_the_wait_of_its_other_delivery(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", ONE)
        first = traffic.asks["a"]
        again = traffic.ask("a", ONE)
        traffic.claim(again)
        traffic.hold(again)

        assert traffic.give_back(first, first.token, ended=True) == []
        assert store.waiting() == 0

    def test_a_run_that_has_ended_does_not_start_again_by_a_wake_up_on_its_way(
        self, store: Store, clock: Clock
    ) -> None:
        traffic, two = Traffic(store, clock), concurrency(2)
        traffic.arrive("a", two)
        first = traffic.asks["a"]
        traffic.arrive("b", two)
        again = traffic.ask("a", two)
        traffic.claim(again)
        traffic.hold(again)
        assert traffic.end("b") == ["a"]
        traffic.give_back(first, first.token, ended=True)

        claim = traffic.resume(traffic.ask("a"))
        assert not claim.is_mine
        assert claim.admission is None

    # -- leases ---------------------------------------------------------------------

    def test_a_place_that_is_not_renewed_goes_to_who_waits(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", ONE)
        traffic.arrive("b", ONE)
        clock.move(LEASE - 1)
        assert traffic.drain() == []

        clock.move(1)
        assert store.flow_due() == clock.now
        assert traffic.drain() == ["b"]
        assert traffic.renew("a") == ["a"]

    def test_a_place_that_is_renewed_stays(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", ONE)
        traffic.arrive("b", ONE)
        for _ in range(3):
            clock.move(LEASE - 1)
            assert traffic.renew("a") == []
            assert traffic.drain() == []

    def test_a_place_that_nobody_needs_is_taken_again(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", ONE)
        clock.move(LEASE + 1)

        assert traffic.running() == 0
        assert traffic.renew("a") == []
        assert traffic.running() == 1

    def test_a_place_that_was_given_back_is_not_renewed(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", ONE)
        traffic.end("a")

        assert traffic.renew("a") == ["a"]
        assert traffic.running() == 0

    def test_who_starts_late_is_missed_as_soon_as_its_lease_is_over(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        for run in "abc":
            traffic.arrive(run, ONE)
        traffic.end("a")
        traffic.come("b")

        clock.move(LEASE)
        assert traffic.drain() == ["c"]

    # -- waits at steps -------------------------------------------------------------

    def test_a_run_that_sleeps_needs_a_place_when_it_goes_on(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", ONE)
        park(traffic.store, "a")
        traffic.turns["a"] = 1
        traffic.end("a", idle=0.0)
        assert traffic.arrive("b", ONE) == Go()

        assert traffic.come("a", goes_on=True) == Later("concurrency")
        assert traffic.end("b") == ["a"]
        assert traffic.come("a", goes_on=True) == Go()

    def test_a_run_that_goes_on_does_not_wait_for_a_throttle(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", throttle())
        park(traffic.store, "a")
        traffic.turns["a"] = 1

        assert traffic.come("a", goes_on=True) == Go()
