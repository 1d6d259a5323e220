"""Tests of runs that ask for places, and are held back."""

from __future__ import annotations

from celery_defer.flow import Go, Later
from celery_defer.ids import RunId
from celery_defer.store import Claim, Held, Store
from celery_defer.testing.store_contract.shorthand import KEEP, UNTIL
from celery_defer.testing.store_contract.traffic import (
    DAY,
    Clock,
    Traffic,
    concurrency,
)

ONE = concurrency(1)


class AskContract:
    """Tests of ``claim`` and ``resume`` with an ask, and of ``hold``."""

    # -- asking ---------------------------------------------------------------------

    def test_as_many_runs_start_as_a_limit_says(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        two = concurrency(2)

        assert [traffic.arrive(run, two) for run in "abc"] == [Go(), Go(), Later(two.name)]
        assert traffic.running() == 2

    def test_each_value_of_a_key_has_its_own_places(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        for run, key in (("a", "1"), ("b", '"1"'), ("c", "ü {}: %s"), ("d", "")):
            assert traffic.arrive(run, concurrency(1, key)) == Go()

        assert traffic.arrive("e", concurrency(1, "1")) == Later("concurrency", "1")

    def test_functions_do_not_share_their_places(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", ONE)
        other = Traffic(traffic.store, traffic.clock, task="other")

        assert other.arrive("b", ONE) == Go()

    def test_a_run_starts_only_if_each_of_its_limits_lets_it(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        of_all = concurrency(2, name="concurrency.2")
        first = [traffic.arrive(run, concurrency(1, run), of_all) for run in "ab"]

        assert first == [Go(), Go()]
        assert traffic.arrive("c", concurrency(1, "c"), of_all) == Later("concurrency.2")
        assert traffic.end("b") == ["c"]

    def test_a_run_that_asks_again_has_the_place_that_it_had(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", ONE)
        ask = traffic.asks["a"]

        assert traffic.claim(ask) == Claim(ask.token, True, Go())
        assert traffic.running() == 1

    def test_two_deliveries_of_a_run_need_two_places(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", ONE)
        first = traffic.asks["a"]

        claim = traffic.claim(traffic.ask("a", ONE))
        assert claim == Claim(first.token, False, Later("concurrency"))

    def test_another_message_of_a_run_gets_no_answer(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", ONE)
        ask = traffic.ask("a", ONE)

        claim = store.claim(RunId("a"), "task.other.1", KEEP, ask=ask)
        assert claim == Claim(store.claim(RunId("a"), "x", KEEP).owner, False)

    def test_a_run_that_may_not_start_yet_keeps_its_turn_and_its_record(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", ONE)
        traffic.arrive("b", ONE)
        claim = traffic.resume(traffic.ask("b"))

        assert (claim.is_mine, claim.admission) == (True, Later("concurrency"))
        assert store.recall(RunId("b"), None, KEEP).is_parked
        assert store.waiting() == 1

    # -- hold -----------------------------------------------------------------------

    def test_a_run_that_is_held_back_is_a_parked_run(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", ONE)
        traffic.arrive("b", ONE)

        recalled = store.recall(RunId("b"), None, KEEP)
        assert (recalled.turn, recalled.is_parked) == (1, True)
        [record] = store.peek(9)
        assert (record.id, record.due) == ("b", clock.now + DAY)
        assert store.claim(RunId("b"), "task.b.9", KEEP) == Claim("", False)

    def test_a_run_is_held_back_in_its_own_turn_only(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", ONE)
        traffic.arrive("b", ONE)
        ask = traffic.ask("b")
        traffic.turns["b"] = 0

        assert traffic.hold(ask) == Held(None)
        assert store.turn(RunId("b")) == 1

    def test_a_run_that_somebody_else_has_begun_is_not_held_back(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", ONE)
        traffic.arrive("b", ONE)
        store.resume(RunId("b"), 1, "task.other.1", KEEP)

        assert traffic.hold(traffic.ask("b")) == Held(None)

    def test_a_cancelled_run_is_not_in_line_but_ends(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", ONE)
        ask = traffic.ask("b", ONE)
        traffic.claim(ask)
        store.cancel(RunId("b"), KEEP, UNTIL)
        traffic.hold(ask)

        now = clock.now
        assert [lease.is_cancelled for lease in store.take(now, now + 9, 9)] == [True]
        assert traffic.end("a") == []

    def test_a_run_that_could_start_by_now_is_let_through_as_it_is_held_back(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", ONE)
        ask = traffic.ask("b", ONE)
        assert traffic.claim(ask).admission == Later("concurrency")
        traffic.end("a")

        held = traffic.hold(ask)
        assert held.admission == Later("concurrency")
        assert [(lease.id, lease.token) for lease in held.leased] == [("b", "record-0")]
        assert traffic.come("b") == Go()
