"""Tests of the lines in which runs wait."""

from __future__ import annotations

from celery_defer.flow import Go, Later
from celery_defer.ids import RunId
from celery_defer.store import HELD_STEP, InLine, Store
from celery_defer.testing.store_contract.shorthand import KEEP, UNTIL
from celery_defer.testing.store_contract.traffic import (
    LEASE,
    Clock,
    Traffic,
    concurrency,
    throttle,
)

ONE = concurrency(1)


class LineContract:
    """Tests of who is let through, and of ``in_line``."""

    # -- in line --------------------------------------------------------------------

    def test_runs_start_in_the_order_in_which_they_came(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        for run in "adcb":
            traffic.arrive(run, ONE)
            clock.move(1)

        started: list[str] = []
        for _ in range(3):
            started += traffic.end((started or ["a"])[-1])
            assert traffic.come(started[-1]) == Go()
        assert started == ["d", "c", "b"]

    def test_a_run_passes_others_by_its_priority_in_seconds(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", ONE)
        for run, priority in (("b", 0.0), ("c", 1.0), ("d", 3.5)):
            traffic.arrive(run, ONE, priority=priority)
            clock.move(2)

        assert traffic.end("a") == ["b"]
        assert [traffic.in_place(run) for run in "cd"] == [2, 1]

    def test_keys_take_turns_at_a_limit_that_they_share(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        of_all = concurrency(1, name="concurrency.2")
        traffic.arrive("first", concurrency(9, "x"), of_all)
        for run in ("a1", "a2", "a3", "b1", "b2", "c1"):
            traffic.arrive(run, concurrency(9, run[0]), of_all)
            clock.move(1)

        let = traffic.end("first")
        while len(let) < 6:
            traffic.come(let[-1])
            let += traffic.end(let[-1])
        assert let == ["a1", "b1", "c1", "a2", "b2", "a3"]

    def test_nobody_passes_those_who_wait_with_the_same_keys(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        two = concurrency(2)
        for run in "abc":
            traffic.arrive(run, two)
        ask = traffic.asks["a"]
        assert traffic.give_back(ask, ask.token, ended=True, limit=0) == []

        assert traffic.arrive("d", two) == Later("concurrency")
        assert traffic.let == ["c"]

    def test_a_run_that_is_let_through_has_its_place_until_it_comes(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", ONE)
        traffic.arrive("b", ONE)
        traffic.end("a")

        assert traffic.arrive("c", ONE) == Later("concurrency")
        assert traffic.running() == 1
        assert traffic.come("b") == Go()
        assert traffic.running() == 1

    def test_a_run_that_comes_with_another_key_has_no_place_there(
        self, store: Store, clock: Clock
    ) -> None:
        traffic, old, new = Traffic(store, clock), concurrency(1, "old"), concurrency(1, "new")
        for run in "abc":
            traffic.arrive(run, old)
        traffic.arrive("d", new)
        assert traffic.end("a") == ["b"]

        assert traffic.come("b", new) == Later("concurrency", "new")
        assert traffic.drain() == ["c"]
        assert traffic.end("d") == ["b"]
        assert traffic.come("b") == Go()

    def test_a_run_that_comes_with_another_limit_needs_a_place_there_too(
        self, store: Store, clock: Clock
    ) -> None:
        traffic, new = Traffic(store, clock), concurrency(1, name="concurrency.2")
        for run in "ab":
            traffic.arrive(run, ONE)
        traffic.arrive("c", new)
        assert traffic.end("a") == ["b"]

        assert traffic.come("b", ONE, new) == Later("concurrency.2")
        assert traffic.end("c") == ["b"]

    def test_a_run_that_comes_with_another_key_waits_for_the_throttle_of_that(
        self, store: Store, clock: Clock
    ) -> None:
        traffic, old, new = Traffic(store, clock), throttle(key="old"), throttle(key="new")
        for run in "ab":
            traffic.arrive(run, old)
        clock.move(9.5)
        traffic.arrive("c", new)
        clock.move(9.5)
        assert traffic.drain() == ["b"]

        assert traffic.come("b", new) == Later("throttle", "new", due=0.5)

    def test_a_run_that_does_not_come_loses_its_place_and_not_its_turn(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        for run in "abc":
            traffic.arrive(run, ONE)
        assert traffic.end("a") == ["b"]
        clock.move(2 * LEASE)
        assert traffic.drain() == ["c"]

        assert traffic.come("b") == Later("concurrency")
        assert traffic.arrive("d", ONE) == Later("concurrency")
        assert traffic.come("c") == Go()
        assert traffic.end("c") == ["b"]

    def test_who_waits_for_long_and_asks_again_keeps_its_place(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        for run in "abc":
            traffic.arrive(run, ONE)
            clock.move(1)

        assert traffic.come("b") == Later("concurrency")
        assert [traffic.in_place(run) for run in "bc"] == [1, 2]
        assert store.turn(RunId("b")) == 2

    def test_a_record_that_is_gone_holds_up_nobody(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        for run in "abcd":
            traffic.arrive(run, ONE)
        store.settle(RunId("b"), None)
        store.cancel(RunId("c"), KEEP, UNTIL)

        assert traffic.end("a") == ["d"]

    def test_a_run_that_has_ended_leaves_its_line(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        for run in "abc":
            traffic.arrive(run, ONE)

        traffic.give_back(traffic.ask("b"), None, ended=True)

        assert [traffic.in_place(run) for run in "bc"] == [0, 1]
        assert traffic.end("a") == ["c"]

    # -- in_line --------------------------------------------------------------------

    def test_a_run_knows_where_it_stands(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        since = clock.now
        for run in "abc":
            traffic.arrive(run, concurrency(1, "k"))
            clock.move(1)

        standing = store.in_line([RunId(run) for run in "abcx"])
        assert standing == [
            None,
            InLine("concurrency", "k", 1, since + 1),
            InLine("concurrency", "k", 2, since + 2),
            None,
        ]

    def test_the_step_of_a_run_that_is_held_back_is_no_step(self) -> None:
        assert not HELD_STEP.isprintable()
