"""Tests of the gates that count starts in a period: throttle and rate limit."""

from __future__ import annotations

from celery_defer.flow import Admission, Drop, Gate, Go, Kind, Later, Reason
from celery_defer.ids import RunId
from celery_defer.store import InLine, Store
from celery_defer.testing.store_contract.traffic import Clock, Traffic, concurrency, throttle

EVERY_TEN = throttle(1, 10.0)
TWICE = Gate(Kind.RATE_LIMIT, "rate_limit", limit=2, period=10.0)


def wait_of(admission: Admission) -> float | None:
    """Return for how long a worker waits; None if the run does not start."""
    return round(admission.wait, 3) if isinstance(admission, Go) else None


class PaceContract:
    """Tests of what a run waits for by time."""

    # -- throttle -------------------------------------------------------------------

    def test_a_throttle_lets_a_run_start_each_interval(self, store: Store, clock: Clock) -> None:
        traffic, start = Traffic(store, clock), clock.now
        admissions = [traffic.arrive(run, EVERY_TEN) for run in "abc"]
        assert admissions == [Go(), Later("throttle", due=10.0), Later("throttle")]

        starts: list[float] = []
        while len(starts) < 2:
            clock.move((store.flow_due() or 0.0) - clock.now)
            [run] = traffic.drain()
            go = traffic.come(run)
            assert isinstance(go, Go)
            starts.append(round(clock.now + go.wait - start, 6))
        assert starts == [10.0, 20.0]

    def test_no_period_has_one_start_too_many_though_one_is_late(
        self, store: Store, clock: Clock
    ) -> None:
        """A fortieth of the period is in reserve, and a tenth of a second at most."""
        traffic = Traffic(store, clock)
        for period, reserve in {2.0: 0.05, 10.0: 0.1}.items():
            gate = Gate(Kind.THROTTLE, "throttle", str(period), limit=1, period=period)
            traffic.arrive(f"first {period}", gate)

            later = traffic.arrive(f"next {period}", gate)
            assert isinstance(later, Later)
            assert round(later.due or 0.0, 6) == period + reserve

    def test_a_throttle_lets_a_burst_start_after_a_pause(self, store: Store, clock: Clock) -> None:
        traffic, three = Traffic(store, clock), throttle(1, 10.0, burst=3)
        admissions = [traffic.arrive(run, three) for run in "abcd"]
        assert admissions == [Go(), Go(), Go(), Later("throttle", due=10.0)]

        clock.move(100)
        assert traffic.drain() == ["d"]
        assert [traffic.arrive(run, three) for run in "efg"][:2] == [Go(), Go()]

    def test_a_worker_waits_with_a_run_that_starts_within_a_tenth_of_a_second(
        self, store: Store, clock: Clock
    ) -> None:
        traffic, fast = Traffic(store, clock), throttle(25, 1.0)

        admissions = [traffic.arrive(run, fast) for run in "abcd"]
        assert [wait_of(each) for each in admissions] == [0.0, 0.04, 0.08, None]

    def test_runs_that_come_late_start_at_a_distance_all_the_same(
        self, store: Store, clock: Clock
    ) -> None:
        traffic, fast = Traffic(store, clock), throttle(5, 2.0)
        for number in range(8):
            traffic.arrive(f"run-{number}", fast)
        for _ in range(8):
            clock.move(0.4)
            traffic.drain()
        assert len(traffic.let) == 7

        waits = [wait_of(traffic.come(run)) for run in list(traffic.let)]
        assert waits == [0.0, 0.4, 0.8, *[None] * 4]

    def test_each_key_has_a_pace_of_its_own(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)

        for key in "ab":
            assert traffic.arrive(key, throttle(1, 10.0, key=key)) == Go()

    def test_a_retry_waits_for_the_throttle_again(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)
        traffic.arrive("a", EVERY_TEN)
        traffic.end("a", idle=1.0)
        clock.move(1)

        assert traffic.arrive("a", EVERY_TEN) == Later("throttle", due=9.0)
        clock.move(9)
        assert traffic.drain() == ["a"]

    def test_a_run_waits_for_a_place_and_for_its_time(self, store: Store, clock: Clock) -> None:
        traffic, both = Traffic(store, clock), (concurrency(1), EVERY_TEN)
        for run in "abc":
            traffic.arrive(run, *both)
        clock.move(10)
        assert traffic.drain() == []
        assert traffic.end("a") == ["b"]
        assert traffic.come("b") == Go()

        assert traffic.end("b") == []
        assert store.in_line([RunId("c")]) == [InLine("throttle", "", 1, clock.now - 10)]
        clock.move(10)
        assert traffic.drain() == ["c"]

    # -- rate limit -----------------------------------------------------------------

    def test_a_rate_limit_drops_what_is_too_much_in_a_period(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        dropped = Drop(Reason.RATE_LIMIT, "rate_limit")
        assert [traffic.arrive(run, TWICE) for run in "ab"] == [Go(), Go()]
        clock.move(9)
        assert traffic.arrive("c", TWICE) == dropped

        clock.move(1)
        assert [traffic.arrive(run, TWICE) for run in "def"] == [Go(), Go(), dropped]

    def test_a_run_that_comes_again_counts_once(self, store: Store, clock: Clock) -> None:
        traffic = Traffic(store, clock)

        assert [traffic.arrive(run, TWICE) for run in "aaab"] == [Go()] * 4

    def test_a_run_that_was_dropped_is_dropped_when_it_comes_again(
        self, store: Store, clock: Clock
    ) -> None:
        traffic = Traffic(store, clock)
        for run in "abc":
            traffic.arrive(run, TWICE)
        clock.move(60)

        assert traffic.arrive("c", TWICE) == Drop(Reason.RATE_LIMIT, "rate_limit")
        assert traffic.arrive("a", TWICE) == Go()

    def test_a_run_that_is_dropped_takes_no_place(self, store: Store, clock: Clock) -> None:
        traffic, one = Traffic(store, clock), concurrency(9)
        for run in "abc":
            traffic.arrive(run, one, TWICE)

        assert traffic.running() == 2
