"""Tests of what a person may do to records and to runs that have ended."""

from __future__ import annotations

from dataclasses import replace

from celery_defer.ids import RunId
from celery_defer.store import Claim, Leased, OutboxRecord, Quarantined, Restart, Store
from celery_defer.testing.store_contract.shorthand import (
    KEEP,
    NOBODY,
    PARKED,
    RUN,
    UNTIL,
    emit,
    event,
    park,
    stage,
    wait_for,
)

_RESTART = Restart(1, "wait", "again", b"again")


class RepairContract:
    """Tests of ``hasten``, ``release``, ``discard`` and ``restart``."""

    # -- peek -------------------------------------------------------------------------

    def test_the_records_that_are_due_first_are_shown_and_stay_as_they_are(
        self, store: Store
    ) -> None:
        for due in (30, 10, 20):
            stage(store, f"run-{due}", due=due, body=b"%d" % due)
        store.take(10, 15, 1)

        assert store.peek(2) == [
            OutboxRecord(RunId("run-10"), 15, 1, b"10"),
            OutboxRecord(RunId("run-20"), 20, 0, b"20"),
        ]
        assert [record.tries for record in store.take(15, 99, 10)] == [2]

    # -- hasten -----------------------------------------------------------------------

    def test_a_record_that_is_hastened_is_due_now(self, store: Store) -> None:
        stage(store, "run", due=50)

        assert store.hasten(RUN, 10)
        assert store.take(10, 99, 10) == [Leased(RUN, "token", b"body", 1)]

    def test_there_is_nothing_to_hasten_without_a_record(self, store: Store) -> None:
        assert not store.hasten(RUN, 10)
        assert store.next_due() is None

    def test_a_leased_record_that_is_hastened_is_due_when_it_is_postponed(
        self, store: Store
    ) -> None:
        stage(store, "run", due=10)
        store.take(10, 40, 10)

        assert store.hasten(RUN, 20)
        assert store.take(39, 99, 10) == []
        store.postpone(RUN, "token", 60)
        assert store.next_due() == 20

    # -- release, discard -------------------------------------------------------------

    def test_a_released_record_is_in_the_outbox_and_not_in_quarantine(self, store: Store) -> None:
        stage(store, "run", due=10)
        store.quarantine(RUN, "token", "it is bad", KEEP)

        assert store.release(RUN, "new", b"other", 20, KEEP)
        assert store.quarantined() == list[Quarantined]()
        assert store.take(20, 99, 10) == [Leased(RUN, "new", b"other", 1)]

    def test_what_is_not_in_quarantine_is_not_released(self, store: Store) -> None:
        assert not store.release(RUN, "new", b"other", 20, KEEP)
        assert store.waiting() == 0

    def test_a_released_record_replaces_no_other_of_the_run(self, store: Store) -> None:
        stage(store, "run", due=10)
        store.quarantine(RUN, "token", "it is bad", KEEP)
        stage(store, "run", due=10, token="later", body=b"later")

        assert not store.release(RUN, "new", b"other", 10, KEEP)
        assert [entry.id for entry in store.quarantined()] == ["run"]
        assert [record.token for record in store.take(10, 99, 10)] == ["later"]

    def test_a_discarded_record_is_gone(self, store: Store) -> None:
        stage(store, "run", due=10)
        store.quarantine(RUN, "token", "it is bad", KEEP)

        assert store.discard(RUN)
        assert not store.discard(RUN)
        assert store.quarantined() == list[Quarantined]()
        assert store.waiting() == 0

    # -- restart ----------------------------------------------------------------------

    def test_a_restarted_run_takes_another_turn(self, store: Store) -> None:
        _end_a_turn(store)

        assert store.restart(RUN, _RESTART, 20, KEEP)
        assert store.recall(RUN, 20, KEEP).is_parked
        assert store.take(20, 50, 10) == [Leased(RUN, "again", b"again", 1)]
        assert store.resume(RUN, 2, "owner", KEEP).claim == Claim("owner", is_mine=True)
        assert store.waiting() == 0

    def test_a_restarted_run_forgets_the_steps_that_it_is_to_run_again(self, store: Store) -> None:
        _end_a_turn(store)
        store.remember(RUN, {"one": b"1", "two": b"2", "three": b"3"}, KEEP)

        store.restart(RUN, replace(_RESTART, forgets=["wait", "three"]), 20, KEEP)

        recalled = store.recall(RUN, 20, KEEP)
        assert (recalled.memos, recalled.waits) == ({"one": b"1", "two": b"2"}, {})

    def test_a_restarted_run_may_receive_an_event_again(self, store: Store) -> None:
        park(store, wait=wait_for())
        emit(store, event())
        store.resume(RUN, 1, "first", KEEP)
        store.restart(RUN, replace(_RESTART, forgets=["wait"], events=["event"]), 20, KEEP)
        store.resume(RUN, 2, "second", KEEP)

        assert park(store, turn=2, wait=wait_for()).memo == b"event"

    def test_a_restarted_run_has_received_what_it_does_not_forget(self, store: Store) -> None:
        park(store, wait=wait_for())
        emit(store, event())
        store.resume(RUN, 1, "first", KEEP)
        store.restart(RUN, _RESTART, 20, KEEP)
        store.resume(RUN, 2, "second", KEEP)

        assert park(store, turn=2, step="next", wait=wait_for()) == PARKED

    def test_a_run_that_has_never_parked_can_be_restarted(self, store: Store) -> None:
        store.claim(RUN, "first", KEEP)

        assert store.restart(RUN, replace(_RESTART, turn=0), 20, KEEP)
        assert not store.claim(RUN, "first", KEEP).is_mine  # a redelivery of its first message
        assert store.resume(RUN, 1, "owner", KEEP).claim.is_mine

    def test_a_cancelled_run_can_be_restarted(self, store: Store) -> None:
        park(store)
        store.cancel(RUN, KEEP, UNTIL)
        assert not store.restart(RUN, _RESTART, 20, KEEP)
        store.settle(RUN, None)

        assert store.restart(RUN, _RESTART, 20, KEEP)
        assert not store.recall(RUN, 20, KEEP).is_cancelled
        assert store.resume(RUN, 2, "owner", KEEP).claim.is_mine

    def test_a_run_is_restarted_once(self, store: Store) -> None:
        _end_a_turn(store)
        store.restart(RUN, _RESTART, 20, KEEP)

        assert not store.restart(RUN, _RESTART, 20, KEEP)
        assert not store.restart(RUN, replace(_RESTART, turn=2), 20, KEEP)

    def test_a_parked_run_is_not_restarted(self, store: Store) -> None:
        park(store, wait=wait_for())

        assert not store.restart(RUN, _RESTART, 20, KEEP)
        assert emit(store, event()).woken == 1

    def test_a_parked_run_whose_record_is_lost_is_not_restarted(self, store: Store) -> None:
        park(store)
        store.settle(RUN, None)

        assert not store.restart(RUN, _RESTART, 20, KEEP)

    def test_a_run_whose_calls_wait_is_not_restarted(self, store: Store) -> None:
        _end_a_turn(store)
        stage(store, "run", due=10, body=b"calls")

        assert not store.restart(RUN, _RESTART, 20, KEEP)
        assert [record.body for record in store.take(10, 99, 10)] == [b"calls"]

    def test_an_event_does_not_wake_a_restarted_run(self, store: Store) -> None:
        park(store, wait=wait_for())
        store.resume(RUN, 1, "first", KEEP)
        store.restart(RUN, _RESTART, 20, KEEP)

        assert emit(store, event()) == NOBODY

    def test_what_is_known_of_a_restarted_run_whose_record_is_lost(self, store: Store) -> None:
        _end_a_turn(store)
        store.restart(RUN, replace(_RESTART, ending=b"ending"), 20, KEEP)

        assert store.recall(RUN, 20, KEEP).ending == b"ending"


def _end_a_turn(store: Store) -> None:
    """Park a run, and begin the turn in which it ends."""
    park(store)
    store.resume(RUN, 1, "first", KEEP)
