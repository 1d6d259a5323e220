"""Tests of what ends a run before its body does: events and deadlines."""

from __future__ import annotations

import math

from celery_defer.ids import RunId
from celery_defer.store import (
    Cancelling,
    Fact,
    Leased,
    Look,
    Restart,
    RunState,
    Store,
    Subscription,
    Verdict,
    Watch,
    Watched,
    by_event,
)
from celery_defer.testing.store_contract.shorthand import (
    KEEP,
    RUN,
    SHAPE,
    UNTIL,
    emit,
    event,
    learn,
    park,
    wait_for,
)

_WHY = by_event("event")
_GOES_ON = Watched()
_ENDED = [Leased(RUN, "token", b"body", 1, is_cancelled=True)]


def _on(wait: Subscription | None = None, until: float = math.inf) -> Watch:
    return Watch([Cancelling(wait or wait_for(), until)])


def _within(start: float | None = None, finish: float | None = None, *, begins: bool) -> Watch:
    return Watch((), start, finish, "not started", "not finished", begins=begins)


def _watch(store: Store, watch: Watch, id: str = RUN, now: float = 10) -> Watched:
    return store.watch(RunId(id), watch, now, KEEP)


class WatchingContract:
    """Tests of ``watch``, and of what ``emit`` and ``take`` do to the runs that are watched."""

    # -- events -------------------------------------------------------------------------

    def test_an_event_cancels_a_parked_run_for_a_relay_to_end(self, store: Store) -> None:
        assert _watch(store, _on()) == _GOES_ON
        park(store, due=500)

        assert emit(store, event()).cancelled == 1
        assert store.recall(RUN, 20, KEEP).why == _WHY
        assert store.take(20, 99, 10) == _ENDED
        assert not store.resume(RUN, 1, "owner", KEEP).claim.is_mine

    def test_a_run_that_waits_for_the_event_that_cancels_it_is_cancelled(
        self, store: Store
    ) -> None:
        _watch(store, _on())
        park(store, due=500, wait=wait_for())

        emitted = emit(store, event())

        assert (emitted.woken, emitted.cancelled) == (1, 1)
        assert [taken.is_cancelled for taken in store.take(40, 99, 10)] == [True]

    def test_an_event_lets_a_run_in_progress_begin_no_step(self, store: Store) -> None:
        _watch(store, _on())

        assert emit(store, event()).cancelled == 1
        assert store.remember(RUN, {"charge": b"memo"}, KEEP) == b""
        assert park(store).verdict is Verdict.CANCELLED
        assert store.take(99, 999, 10) == []

    def test_an_event_that_came_before_the_run_arrived_ends_it(self, store: Store) -> None:
        emit(store, event(at=20))

        assert _watch(store, _on(wait_for(since=21)), "later") == _GOES_ON
        assert _watch(store, _on(wait_for(oldest=21)), "old") == _GOES_ON
        assert _watch(store, _on(until=19.9), "sooner") == _GOES_ON
        assert _watch(store, _on(wait_for(since=20)), now=30) == Watched(_WHY)
        assert emit(store, event("other", at=40)).cancelled == 2

    def test_an_event_with_other_values_cancels_nobody(self, store: Store) -> None:
        learn(store, wait_for("mine", SHAPE))
        _watch(store, _on(wait_for("mine", SHAPE, since=100)), now=100)

        assert emit(store, event(at=120), {"[]": "by-name", SHAPE: "other"}).cancelled == 0
        assert emit(store, event("it", at=130), {"[]": "by-name", SHAPE: "mine"}).cancelled == 1

    def test_an_event_of_a_new_shape_is_looked_for_by_its_name(self, store: Store) -> None:
        wait = wait_for("mine", SHAPE, since=5)

        [look] = _watch(store, _on(wait)).looks

        assert (look.subscription, look.since) == (wait, 5)
        assert look.known_since == 70
        assert emit(store, event(at=12), {"[]": "by-name", SHAPE: "mine"}).cancelled == 0
        looked = Watch([Cancelling(wait_for("theirs", SHAPE))], has_looked=True)
        assert _watch(store, looked, "other") == _GOES_ON

    def test_looks_name_the_subscriptions_that_need_one(self, store: Store) -> None:
        new = wait_for("mine", SHAPE)
        watch = Watch([Cancelling(wait_for()), Cancelling(new)])

        assert _watch(store, watch).looks == (Look(new, 0, 70),)

    def test_an_event_that_comes_too_late_cancels_nobody(self, store: Store) -> None:
        _watch(store, _on(until=19))

        assert emit(store, event(at=20)).cancelled == 0

    def test_an_event_cancels_so_many_runs_at_once_and_the_others_next(self, store: Store) -> None:
        for id in ("one", "two", "three"):
            _watch(store, _on(), id)

        first, second = (emit(store, event(), limit=2) for _ in range(2))

        assert (first.cancelled, first.has_more) == (2, True)
        assert (second.cancelled, second.has_more) == (1, False)

    # -- deadlines ----------------------------------------------------------------------

    def test_a_parked_run_is_taken_at_its_deadline_to_be_ended(self, store: Store) -> None:
        _watch(store, _within(finish=30, begins=True))
        park(store, due=500)

        assert store.next_due() == 40
        assert store.take(39, 99, 10) == []
        assert store.take(40, 99, 10) == _ENDED
        assert store.recall(RUN, 40, KEEP).why == "not finished"
        store.settle(RUN, None)
        assert store.next_due() is None

    def test_a_run_in_progress_is_cancelled_at_its_deadline(self, store: Store) -> None:
        _watch(store, _within(finish=30, begins=True))

        assert store.take(41, 99, 10) == []
        assert store.remember(RUN, {"charge": b"memo"}, KEEP) == b""
        assert _watch(store, _within(finish=30, begins=True), now=42) == Watched("not finished")

    def test_a_run_that_has_not_begun_has_the_deadline_of_its_start(self, store: Store) -> None:
        watch = _within(start=20, finish=30, begins=False)
        assert _watch(store, watch) == _GOES_ON
        assert store.next_due() == 20

        assert _watch(store, _within(20, 30, begins=True), now=15) == _GOES_ON

        assert store.next_due() == 45

    def test_a_run_that_arrives_late_ends_at_once(self, store: Store) -> None:
        assert _watch(store, _within(start=10, begins=True), now=10) == Watched("not started")
        assert store.next_due() is None

    def test_a_body_that_begins_again_keeps_the_deadline_of_its_first_start(
        self, store: Store
    ) -> None:
        _watch(store, _within(start=15, finish=30, begins=True), now=10)

        assert _watch(store, _within(start=15, finish=30, begins=True), now=35) == _GOES_ON
        assert store.next_due() == 40
        assert _watch(store, _within(15, 30, begins=True), now=40) == Watched("not finished")

    def test_a_run_without_a_deadline_to_finish_has_none_once_it_has_begun(
        self, store: Store
    ) -> None:
        _watch(store, _within(start=15, begins=False), now=10)
        _watch(store, _within(start=15, begins=True), now=12)

        assert store.next_due() is None
        assert _watch(store, _within(start=15, begins=True), now=99) == _GOES_ON

    # -- the end ------------------------------------------------------------------------

    def test_a_run_that_has_ended_is_watched_no_more(self, store: Store) -> None:
        _watch(store, Watch([Cancelling(wait_for())], finish=30, finish_why="late"))
        recalled = store.recall(RUN, None, 0)
        assert (recalled.is_watched, recalled.watched) == (True, ("by-name",))

        store.unwatch(RUN, KEEP)

        assert store.next_due() is None
        assert emit(store, event()).cancelled == 0
        assert not store.recall(RUN, None, 0).is_cancelled

    def test_a_run_that_was_cancelled_by_hand_is_watched_no_more(self, store: Store) -> None:
        _watch(store, Watch([Cancelling(wait_for())], finish=30, finish_why="late"))
        store.cancel(RUN, KEEP, UNTIL, why="by hand")

        assert store.next_due() is None
        assert emit(store, event()).cancelled == 0
        assert _watch(store, _on()) == Watched("by hand")

    def test_a_run_that_is_restarted_is_as_one_that_never_began(self, store: Store) -> None:
        _watch(store, _within(finish=30, begins=True))
        park(store, due=500)
        store.take(40, 99, 10)
        store.settle(RUN, None)

        assert store.restart(RUN, Restart(1, "wait", "token", b"body"), 50, KEEP)

        recalled = store.recall(RUN, None, 0)
        assert not recalled.is_cancelled
        assert not recalled.is_watched
        assert recalled.why == ""

    def test_facts_are_written_if_the_run_goes_on(self, store: Store) -> None:
        facts = [Fact(RUN, "task", RunState.RUNNING, KEEP, b"{}")]
        late = _within(start=5, begins=True)

        assert store.watch(RUN, late, 10, KEEP, facts=facts) == Watched("not started")
        assert store.histories([RUN]) == [None]
        other = [facts[0]._replace(id=RunId("other"))]
        store.watch(RunId("other"), _on(), 10, KEEP, facts=other)

        (history,) = store.histories([RunId("other")])
        assert history is not None
