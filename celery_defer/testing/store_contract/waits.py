"""Tests of how runs wait for an event, and of how a wait ends."""

from __future__ import annotations

from celery_defer.ids import RunId
from celery_defer.store import NO_SHAPE, Arrival, Leased, Store, Verdict
from celery_defer.testing.store_contract.shorthand import (
    BY_NAME,
    KEEP,
    NOBODY,
    PARKED,
    RUN,
    SHAPE,
    UNTIL,
    emit,
    event,
    learn,
    park,
    wait_for,
)


class WaitContract:
    """Tests of runs that park until an event is sent."""

    # -- events sent before the wait ----------------------------------------------------

    def test_a_run_does_not_park_for_an_event_that_was_already_sent(self, store: Store) -> None:
        emit(store, event("early", at=20))

        assert park(store, wait=wait_for(since=20)) == Arrival(Verdict.ARRIVED, memo=b"early")
        recalled = store.recall(RUN, 10, KEEP)
        assert (recalled.turn, recalled.memos, recalled.waits) == (0, {"wait": b"early"}, {})
        assert store.waiting() == 0

    def test_an_event_sent_before_the_run_does_not_count(self, store: Store) -> None:
        emit(store, event("early", at=20))

        assert park(store, wait=wait_for(since=20.001)) == PARKED

    def test_the_event_that_came_first_is_received(self, store: Store) -> None:
        for id, at in (("first", 22), ("second", 21), ("third", 23)):
            emit(store, event(id, at=at))

        assert park(store, wait=wait_for()).memo == b"first"

    def test_a_run_receives_an_event_once(self, store: Store) -> None:
        emit(store, event("first", at=20))
        emit(store, event("second", at=21))

        arrivals = [park(store, step=step, wait=wait_for()) for step in ("one", "two", "three")]

        assert [arrival.memo for arrival in arrivals] == [b"first", b"second", None]
        assert arrivals[2] == PARKED

    def test_many_events_that_the_run_has_received_are_skipped(self, store: Store) -> None:
        for number in range(250):
            emit(store, event(f"{number:03}", at=20))
            park(store, step=f"step-{number}", wait=wait_for())

        assert park(store, wait=wait_for()) == PARKED

    def test_an_event_older_than_the_wait_allows_is_not_received(self, store: Store) -> None:
        emit(store, event("old", at=20))
        emit(store, event("new", at=21))

        assert park(store, wait=wait_for(oldest=20.5)).memo == b"new"

    def test_an_event_is_received_once_by_waits_of_different_shapes(self, store: Store) -> None:
        learn(store, wait_for("by-user", SHAPE))
        emit(store, event("both"), {**BY_NAME, SHAPE: "by-user"})
        park(store, step="one", wait=wait_for())

        assert park(store, step="two", wait=wait_for("by-user", SHAPE)).memo is None

    def test_the_first_wait_of_a_shape_must_look_for_earlier_events(self, store: Store) -> None:
        first = park(store, now=10, wait=wait_for("one", SHAPE), early=None)
        later = park(store, "other", now=20, wait=wait_for("two", SHAPE), early=None)

        assert first.verdict is Verdict.LOOK
        assert first.known_since > 10  # a sender's clock may be ahead
        assert later == first
        assert store.waiting() == 0

    def test_a_wait_that_begins_after_its_shape_was_known_parks_at_once(self, store: Store) -> None:
        first = park(store, now=10, wait=wait_for("one", SHAPE), early=None)
        wait = wait_for("two", SHAPE, since=first.known_since)

        assert park(store, wait=wait, early=None) == PARKED

    def test_a_wait_for_any_event_of_a_name_parks_at_once(self, store: Store) -> None:
        assert park(store, wait=wait_for(), early=None) == PARKED

    def test_an_early_event_becomes_the_memo_of_the_step(self, store: Store) -> None:
        wait = wait_for("by-user", SHAPE)
        early = [event("first", at=8), event("second", at=9)]

        assert park(store, wait=wait, early=early).memo == b"first"
        assert park(store, step="next", wait=wait, early=early).memo == b"second"
        assert park(store, step="last", wait=wait, early=early) == PARKED

    def test_an_event_sent_during_the_look_is_received(self, store: Store) -> None:
        wait = wait_for("by-user", SHAPE)
        park(store, wait=wait, early=None)
        emit(store, event(), {**BY_NAME, SHAPE: "by-user"})

        assert park(store, wait=wait, early=()).memo == b"event"

    # -- the end of a wait ----------------------------------------------------------

    def test_a_settled_run_is_not_woken(self, store: Store) -> None:
        park(store, wait=wait_for())
        store.settle(RUN, "token")

        assert emit(store, event()) == NOBODY
        assert store.waiting() == 0

    def test_the_calls_that_a_run_stages_replace_its_wait(self, store: Store) -> None:
        park(store, wait=wait_for())
        store.stage(RUN, "calls", b"calls", 10, KEEP)

        assert emit(store, event()) == NOBODY
        assert store.arrive(RUN, "wait", 20, 30) is None
        assert store.cancel(RUN, KEEP, UNTIL, only_parked=True) is None
        assert store.take(10, 99, 10) == [Leased(RUN, "calls", b"calls", 1)]

    def test_a_quarantined_run_is_not_woken(self, store: Store) -> None:
        park(store, wait=wait_for())
        store.quarantine(RUN, "token", "it is bad", KEEP)

        assert emit(store, event()) == NOBODY
        assert store.recall(RUN, 10, KEEP).memos == {}

    def test_a_postponed_run_still_waits(self, store: Store) -> None:
        park(store, due=15, wait=wait_for())
        store.take(15, 99, 10)
        store.postpone(RUN, "token", 50)

        assert emit(store, event()).leased == (Leased(RUN, "token", b"body", 2),)

    def test_a_later_wait_replaces_the_earlier(self, store: Store) -> None:
        park(store, wait=wait_for("one"))
        park(store, turn=1, step="again", wait=wait_for("two"))

        assert emit(store, event(), {NO_SHAPE: "one"}) == NOBODY
        assert emit(store, event("next"), {NO_SHAPE: "two"}).woken == 1

    # -- arrive ---------------------------------------------------------------------

    def test_a_run_whose_wait_is_over_is_leased(self, store: Store) -> None:
        park(store, due=15, wait=wait_for())

        assert store.arrive(RUN, "wait", 12, 22) == Leased(RUN, "token", b"body", 1)
        assert store.recall(RUN, 10, KEEP).memos == {}
        assert emit(store, event()) == NOBODY
        assert store.arrive(RUN, "wait", 21.9, 99) is None
        assert [record.tries for record in store.take(22, 99, 10)] == [2]

    def test_a_run_that_is_not_parked_at_the_step_is_not_leased(self, store: Store) -> None:
        assert store.arrive(RUN, "wait", 12, 22) is None
        park(store)

        assert store.arrive(RUN, "other", 12, 22) is None

    def test_a_run_whose_wait_ends_while_a_relay_looks_is_not_postponed(self, store: Store) -> None:
        park(store, due=15)
        store.take(15, 45, 10)
        store.arrive(RUN, "wait", 16, 26)
        store.postpone(RUN, "token", 75)

        assert store.next_due() == 16
        store.take(16, 46, 10)
        store.postpone(RUN, "token", 75)
        assert store.next_due() == 75

    def test_a_run_may_have_any_id_and_wait_at_any_step(self, store: Store) -> None:
        id, step = RunId("{a}:run ü'\n%s"), "b\n}:outbox '%d'"
        park(store, id, step=step, wait=wait_for())

        assert [record.id for record in emit(store, event(), now=1, until=2).leased] == [id]
        assert store.arrive(id, step, 3, 4) == Leased(id, "token", b"body", 2)
        assert store.cancel(id, KEEP, UNTIL) == b"body"

    # -- give_up ----------------------------------------------------------------------

    def test_a_wait_that_times_out_has_an_empty_memo(self, store: Store) -> None:
        park(store, wait=wait_for())

        assert store.give_up(RUN, "wait", wait_for(), b"nothing", KEEP) == b"nothing"
        assert store.give_up(RUN, "wait", wait_for(), b"other", KEEP) == b"nothing"
        assert store.recall(RUN, 10, KEEP).memos == {"wait": b"nothing"}

    def test_a_wait_that_times_out_after_its_event_keeps_the_event(self, store: Store) -> None:
        park(store, wait=wait_for())
        emit(store, event())

        assert store.give_up(RUN, "wait", wait_for(), b"nothing", KEEP) == b"event"

    def test_an_event_that_did_not_wake_the_run_is_received_at_the_timeout(
        self, store: Store
    ) -> None:
        emit(store, event("before", at=15))
        park(store, wait=wait_for(since=30))

        assert store.give_up(RUN, "wait", wait_for(since=10), b"nothing", KEEP) == b"before"

    def test_a_received_event_is_not_received_again_at_the_timeout(self, store: Store) -> None:
        emit(store, event())
        park(store, step="one", wait=wait_for())
        park(store, step="two", wait=wait_for())

        assert store.give_up(RUN, "two", wait_for(), b"nothing", KEEP) == b"nothing"
