"""Tests of parking and of cancelling parked runs."""

from __future__ import annotations

from celery_defer.ids import RunId
from celery_defer.store import Arrival, Leased, Parking, Store, Verdict
from celery_defer.testing.store_contract.shorthand import (
    KEEP,
    NOBODY,
    PARKED,
    RUN,
    UNTIL,
    emit,
    event,
    park,
    wait_for,
)


class ParkingContract:
    """Tests of runs that park for a time, of the alarm, and of ``cancel``."""

    # -- park -----------------------------------------------------------------------

    def test_a_parked_run_is_taken_when_it_is_due(self, store: Store) -> None:
        assert park(store, due=15) == PARKED

        assert store.waiting() == 1
        assert store.take(14.9, 99, 10) == []
        assert store.take(15, 99, 10) == [Leased(RUN, "token", b"body", 1)]

    def test_what_is_taken_says_for_how_long_it_is_kept(self, store: Store) -> None:
        park(store, now=10, due=15)
        [taken] = store.take(15, 99, 10)

        assert KEEP - 10 <= taken.left <= KEEP

    def test_a_run_parks_in_its_own_turn_only(self, store: Store) -> None:
        park(store, due=15)

        assert park(store, due=1, token="old").verdict is Verdict.SUPERSEDED
        assert park(store, turn=2, due=1, token="early").verdict is Verdict.SUPERSEDED
        assert store.recall(RUN, 10, KEEP).turn == 1
        assert [record.token for record in store.take(15, 99, 10)] == ["token"]

    def test_each_step_that_has_parked_has_a_note_and_a_span(self, store: Store) -> None:
        park(store, step="one", note=b"1", span=b"a")
        park(store, turn=1, step="two", note=b"2", span=b"b")
        park(store, turn=2, step="one", note=b"3", span=b"c")

        recalled = store.recall(RUN, 10, KEEP)
        assert (recalled.turn, recalled.waits) == (3, {"one": b"3", "two": b"2"})
        assert recalled.spans == {"one": b"c", "two": b"b"}

    def test_a_run_that_parks_again_has_one_record(self, store: Store) -> None:
        park(store, due=15)
        store.take(15, 99, 10)
        park(store, turn=1, step="again", due=16, token="second")

        assert store.take(16, 99, 10) == [Leased(RUN, "second", b"body", 1)]
        assert store.waiting() == 1

    def test_a_cancelled_run_does_not_park(self, store: Store) -> None:
        store.cancel(RUN, KEEP, UNTIL)

        assert park(store).verdict is Verdict.CANCELLED
        assert store.waiting() == 0

    def test_a_step_that_has_a_memo_does_not_park(self, store: Store) -> None:
        store.remember(RUN, {"wait": b"faster"}, KEEP)

        assert park(store) == Arrival(Verdict.ARRIVED, memo=b"faster")
        assert store.recall(RUN, 10, KEEP).turn == 0
        assert store.waiting() == 0

    # -- next_due, alarm -----------------------------------------------------------

    def test_the_next_due_is_the_earliest(self, store: Store) -> None:
        assert store.next_due() is None

        store.stage(RunId("staged"), "token", b"body", 20, KEEP)
        park(store, due=15.5)
        assert store.next_due() == 15.5

        store.take(15.5, 99, 10)
        assert store.next_due() == 20

    def test_parking_a_run_sets_off_the_alarm(self, store: Store) -> None:
        alarm = store.alarm()
        while alarm.wait(0.05) is not None:  # alarms of earlier tests
            pass

        park(store, now=10, due=15.5)

        assert alarm.wait(5) == 15.5
        assert alarm.wait(0.05) is None
        alarm.close()

    # -- cancel ---------------------------------------------------------------------

    def test_cancelling_a_parked_run_returns_its_record(self, store: Store) -> None:
        park(store, due=15, wait=wait_for())

        assert store.cancel(RUN, KEEP, UNTIL, only_parked=True) == b"body"
        assert store.recall(RUN, 10, KEEP).is_cancelled
        assert store.take(99, 999, 10) == []
        assert emit(store, event()) == NOBODY
        assert store.cancel(RUN, KEEP, UNTIL) is None

    def test_the_record_of_a_cancelled_run_is_leased_until_it_is_settled(
        self, store: Store
    ) -> None:
        park(store, due=15, wait=wait_for())
        store.cancel(RUN, KEEP, UNTIL)

        assert store.take(UNTIL, 9_999, 10) == [Leased(RUN, "token", b"body", 1, is_cancelled=True)]
        store.settle(RUN, None)
        assert store.waiting() == 0

    def test_a_run_is_parked_until_it_resumes(self, store: Store) -> None:
        for id in ("woken", "resumed"):
            park(store, id, due=15)
        store.take(15, 45, 10)
        store.expect([(RunId("woken"), "token", 60)])
        store.resume(RunId("resumed"), 1, "owner", KEEP)

        assert store.recall(RunId("woken"), 10, KEEP).is_parked
        assert store.cancel(RunId("woken"), KEEP, UNTIL) == b"body"
        assert not store.recall(RunId("resumed"), 10, KEEP).is_parked
        assert store.cancel(RunId("resumed"), KEEP, UNTIL) is None

    def test_a_wake_up_does_not_get_the_turn_of_a_cancelled_run(self, store: Store) -> None:
        park(store, due=15)
        store.cancel(RUN, KEEP, UNTIL)

        assert not store.resume(RUN, 1, "owner", KEEP).claim.is_mine
        assert [record.is_cancelled for record in store.take(UNTIL, 9_999, 10)] == [True]

    def test_a_parked_run_whose_record_is_lost_is_cancelled_with_its_ending(
        self, store: Store
    ) -> None:
        for id, ending in (("part", b"ending"), ("plain", b"")):
            parking = Parking(0, "nap", b"note", "token", b"body", 15, ending=ending)
            store.park(RunId(id), parking, 10, KEEP)
            store.settle(RunId(id), None)

        assert store.recall(RunId("part"), 10, KEEP).ending == b"ending"
        assert store.cancel(RunId("part"), KEEP, UNTIL, only_parked=True) == b"ending"
        assert store.cancel(RunId("plain"), KEEP, UNTIL) == b""
        leases = store.take(UNTIL, 9_999, 10)
        assert [(lease.body, bool(lease.token)) for lease in leases] == [
            (b"ending", True),
            (b"", True),
        ]
        assert store.cancel(RunId("part"), KEEP, UNTIL) is None

    def test_a_run_that_is_not_parked_is_cancelled_unless_only_parked(self, store: Store) -> None:
        assert store.cancel(RUN, KEEP, UNTIL, only_parked=True) is None
        assert not store.recall(RUN, 10, KEEP).is_cancelled

        assert store.cancel(RUN, KEEP, UNTIL) is None
        assert store.recall(RUN, 10, KEEP).is_cancelled

    def test_the_calls_that_a_cancelled_run_has_staged_stay(self, store: Store) -> None:
        store.stage(RUN, "token", b"calls", 10, KEEP)

        assert store.cancel(RUN, KEEP, UNTIL, only_parked=True) is None
        assert store.cancel(RUN, KEEP, UNTIL) is None
        assert [record.body for record in store.take(10, 99, 10)] == [b"calls"]
