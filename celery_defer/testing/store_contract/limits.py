"""Tests of limits that are changed while runs wait, and of how they stand."""

from __future__ import annotations

from celery_defer.flow import Go, Later
from celery_defer.ids import RunId
from celery_defer.store import FlowState, LimitState, Store
from celery_defer.testing.store_contract.shorthand import KEEP
from celery_defer.testing.store_contract.traffic import LEASE, Clock, Traffic, concurrency, throttle


class LimitContract:
    """Tests of ``set_limit``, ``pause`` and ``flow``."""

    # -- set_limit ------------------------------------------------------------------

    def test_a_limit_that_is_raised_holds_for_those_who_wait(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        for run in "abcd":
            traffic.arrive(run, concurrency(1, "k"))

        store.set_limit("task", "concurrency", {"limit": 3})
        assert store.flow_due() == clock.now
        assert traffic.drain() == ["b", "c"]
        assert traffic.arrive("e", concurrency(1, "k")) == Later("concurrency", "k")

    def test_a_limit_that_is_lowered_holds_from_the_next_run_on(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        for run in "abcd":
            traffic.arrive(run, concurrency(3))
        store.set_limit("task", "concurrency", {"limit": 1})

        assert traffic.end("a") == []
        assert traffic.renew("b", "c") == []
        assert traffic.end("b") == []
        assert traffic.end("c") == ["d"]

    def test_a_number_that_is_not_given_stays_as_it_was_set(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", throttle(5, 10.0, burst=4))

        store.set_limit("task", "throttle", {"limit": 7})
        store.set_limit("task", "throttle", {"period": 20.0})
        store.set_limit("task", "throttle", {"limit": 8})

        (state,) = store.flow(["task"])
        numbers = {"limit": 8, "period": 20.0}
        assert state.limits == (LimitState("throttle", 8, 20.0, 4, numbers),)

    def test_a_limit_that_is_lowered_wakes_nobody(self, store: Store, clock: Clock) -> None:
        traffic, since = Traffic(store, clock), clock.now
        for run in "abc":
            traffic.arrive(run, concurrency(2))
        traffic.arrive("d", concurrency(9, name="concurrency.2"))
        clock.move(1)

        store.set_limit("task", "concurrency", {"limit": 1})
        traffic.arrive("e", concurrency(3, name="concurrency.2"))
        assert store.flow_due() == since + LEASE

    def test_an_override_ends(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        store.set_limit("task", "concurrency", {"limit": 0})
        assert traffic.arrive("a", concurrency(1)) == Later("concurrency")

        store.set_limit("task", "concurrency", None)
        assert traffic.drain() == ["a"]

    def test_a_deploy_that_raises_a_limit_holds_for_those_who_wait(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        for run in "abc":
            traffic.arrive(run, concurrency(1))

        traffic.arrive("d", concurrency(3))
        assert traffic.let == ["b", "c"]

    def test_a_faster_throttle_lets_those_go_who_wait(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        for run in "abc":
            traffic.arrive(run, throttle(1, 100.0))

        store.set_limit("task", "throttle", {"period": 10.0, "burst": 12})
        assert traffic.drain() == ["b", "c"]

    def test_a_gate_that_is_due_stays_so_when_its_limit_is_raised(
        self, store: Store, clock: Clock
    ) -> None:
        traffic, since = Traffic(store, clock), clock.now
        for run in "ab":
            traffic.arrive(run, concurrency(1))
        clock.move(LEASE + 5)
        store.set_limit("task", "concurrency", {"limit": 2})

        assert store.flow_due() == since + LEASE

    # -- keep_limits ----------------------------------------------------------------

    def test_who_waits_for_limits_that_the_code_has_no_more_goes_on(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        for run in "abc":
            traffic.arrive(run, concurrency(1), throttle(1, 3_600.0))
        store.set_limit("task", "concurrency", {"limit": 1})

        store.keep_limits({"other": ["throttle"], "task": []})
        assert traffic.drain() == ["b", "c"]
        assert store.flow(["task"]) == [FlowState("task")]
        assert store.flow_due() is None

    def test_a_limit_that_the_code_still_has_holds(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        for run in "abc":
            traffic.arrive(run, concurrency(1), throttle(1, 3_600.0))
        store.set_limit("task", "concurrency", {"limit": 5})

        store.keep_limits({"task": ["concurrency"]})
        assert traffic.drain() == ["b", "c"]
        state = LimitState("concurrency", 5, 0.0, 1, {"limit": 5}, running=3)
        assert store.flow(["task"])[0].limits == (state,)
        store.keep_limits({"task": ["concurrency"]})
        assert store.flow_due() is None

    def test_a_function_without_limits_is_not_paused(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        store.pause("task", is_paused=True)
        traffic.arrive("a", concurrency(1))

        store.keep_limits({"task": ["concurrency"]})
        assert traffic.drain() == []
        store.keep_limits({"task": []})
        assert traffic.drain() == ["a"]
        assert store.flow(["task"]) == [FlowState("task")]

    # -- pause ----------------------------------------------------------------------

    def test_runs_of_a_paused_function_wait_and_are_not_lost(
        self, store: Store, clock: Clock
    ) -> None:
        traffic, two = Traffic(store, clock), concurrency(2)
        for run in "abc":
            traffic.arrive(run, two)
        store.pause("task", is_paused=True)
        assert traffic.arrive("d", two) == Later("pause")
        assert traffic.arrive("e") == Later("pause")
        assert traffic.end("a") == []
        assert traffic.drain() == []

        store.pause("task", is_paused=False)
        assert sorted(traffic.drain()) == ["c", "e"]
        traffic.come("c")
        assert traffic.end("c") == ["d"]

    def test_a_run_that_was_let_through_before_the_pause_waits(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        for run in "ab":
            traffic.arrive(run, concurrency(1))
        traffic.end("a")
        store.pause("task", is_paused=True)
        assert traffic.come("b") == Later("pause")

        store.pause("task", is_paused=False)
        assert traffic.drain() == ["b"]

    # -- flow -----------------------------------------------------------------------

    def test_a_function_that_nobody_has_asked_for_has_no_limits(self, store: Store) -> None:
        assert store.flow(["a", "b"]) == [FlowState("a"), FlowState("b")]

    def test_a_limit_that_no_run_has_asked_for_has_the_numbers_that_were_set(
        self, store: Store
    ) -> None:
        store.set_limit("task", "throttle", {"limit": 7})

        throttle = LimitState("throttle", 7, 0.0, 0, {"limit": 7})
        assert store.flow(["task"]) == [FlowState("task", limits=(throttle,))]
        assert store.flow_due() is None
        assert store.in_line([]) == []

    def test_the_limits_of_a_function_are_as_asked_or_as_overridden(
        self, store: Store, clock: Clock
    ) -> None:
        traffic, paced = Traffic(store, clock), throttle(5, 10.0, burst=4)
        for run, key in (("a", "x"), ("b", "x"), ("c", "y"), ("d", "z")):
            traffic.arrive(run, concurrency(1, key), paced)
        traffic.arrive("e", concurrency(1, "x"), paced)
        store.set_limit("task", "throttle", {"limit": 7})
        store.pause("task", is_paused=True)

        limits = (
            LimitState("concurrency", 1, 0.0, 1, None, running=3, lines=1),
            LimitState("throttle", 7, paced.period, 4, {"limit": 7}),
        )
        assert store.flow(["task"]) == [FlowState("task", True, 2, limits)]

    def test_a_claim_without_an_ask_counts_nowhere(self, store: Store, clock: Clock) -> None:
        store.claim(RunId("a"), "task.a.1", KEEP)

        assert store.flow(["task"]) == [FlowState("task")]
        assert Traffic(store, clock).arrive("b", concurrency(1)) == Go()
