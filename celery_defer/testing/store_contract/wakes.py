"""Which runs an event wakes, and who publishes them, as tests."""

from __future__ import annotations

from celery_defer.ids import RunId
from celery_defer.store import Emitted, Leased, Rest, Store
from celery_defer.testing.store_contract.shorthand import (
    BY_NAME,
    KEEP,
    NOBODY,
    RUN,
    SHAPE,
    emit,
    event,
    learn,
    park,
    wait_for,
)


class WakeContract:
    """Tests of what ``emit`` does with those that wait."""

    def test_an_event_wakes_all_that_wait_for_its_values(self, store: Store) -> None:
        learn(store, wait_for("by-user", SHAPE))
        park(store, "one", now=12, wait=wait_for())
        park(store, "two", now=11, wait=wait_for("by-user", SHAPE))
        park(store, "three", now=11, wait=wait_for("by-other", SHAPE))
        park(store, "four", now=11)

        found = emit(store, event(), {**BY_NAME, SHAPE: "by-user"})

        assert (found.woken, found.has_more) == (2, False)
        assert [taken.id for taken in found.leased] == ["one", "two"]
        for id in ("one", "two"):
            assert store.recall(RunId(id), 10, KEEP).memos == {"wait": b"event"}
        assert store.recall(RunId("three"), 10, KEEP).memos == {}

    def test_a_woken_run_is_leased_to_the_sender(self, store: Store) -> None:
        park(store, due=15, wait=wait_for())

        found = emit(store, event(), now=12, until=22)

        assert found.leased == (Leased(RUN, "token", b"body", 1),)
        assert store.take(21.9, 99, 10) == []
        assert store.take(22, 99, 10) == [Leased(RUN, "token", b"body", 2)]

    def test_a_woken_run_is_not_woken_by_the_next_event(self, store: Store) -> None:
        park(store, wait=wait_for())
        emit(store, event("first"))

        assert emit(store, event("second"), now=99) == NOBODY
        assert store.recall(RUN, 10, KEEP).memos == {"wait": b"first"}

    def test_a_run_that_a_relay_has_is_told_but_not_given_to_the_sender(self, store: Store) -> None:
        park(store, due=15, wait=wait_for())
        store.take(15, 45, 10)

        assert emit(store, event(), now=44) == Emitted(woken=1)
        assert store.recall(RUN, 10, KEEP).memos == {"wait": b"event"}
        assert store.take(45, 99, 10) == [Leased(RUN, "token", b"body", 2)]

    def test_a_run_that_a_sender_has_is_given_to_nobody_else(self, store: Store) -> None:
        park(store, wait=wait_for())
        emit(store, event(), now=20, until=30)

        assert store.arrive(RUN, "wait", 29.9, 99) is None
        assert store.arrive(RUN, "wait", 30, 99) == Leased(RUN, "token", b"body", 2)

    def test_a_run_whose_lease_has_ended_is_given_to_the_sender(self, store: Store) -> None:
        park(store, due=15, wait=wait_for())
        store.take(15, 45, 10)

        assert [taken.tries for taken in emit(store, event(), now=45).leased] == [2]

    def test_no_more_runs_are_leased_than_wanted_and_the_rest_the_next_time(
        self, store: Store
    ) -> None:
        for number in range(3):
            park(store, f"run-{number}", wait=wait_for())

        found = [emit(store, event(), limit=2) for _ in range(2)]

        assert [(each.woken, each.has_more) for each in found] == [(2, True), (1, False)]
        assert [[taken.id for taken in each.leased] for each in found] == [
            ["run-0", "run-1"],
            ["run-2"],
        ]

    def test_as_many_runs_as_wanted_are_not_followed_by_more(self, store: Store) -> None:
        for id in ("one", "two"):
            park(store, id, wait=wait_for())

        assert not emit(store, event(), limit=2).has_more

    def test_who_has_received_the_event_goes_on_waiting_for_the_next(self, store: Store) -> None:
        park(store, "fast", wait=wait_for())
        park(store, "slow", wait=wait_for())
        emit(store, event("first"), limit=1)
        park(store, "fast", turn=1, step="next", wait=wait_for())

        found = emit(store, event("first"), limit=1)

        assert [taken.id for taken in found.leased] == ["slow"]
        assert [taken.id for taken in emit(store, event("second"), now=99).leased] == ["fast"]

    def test_what_an_event_leaves_to_others_is_in_the_outbox(self, store: Store) -> None:
        for id in ("one", "two"):
            park(store, id, wait=wait_for())
        rest = Rest(RunId("event"), "rest", b"event", KEEP)

        assert emit(store, event(), limit=1, until=30, rest=rest).has_more
        assert store.take(29.9, 99, 10) == []
        assert Leased(rest.id, "rest", b"event", 1) in store.take(30, 99, 10)

    def test_an_event_that_leaves_nothing_leaves_no_record(self, store: Store) -> None:
        park(store, wait=wait_for())
        emit(store, event(), rest=Rest(RunId("event"), "rest", b"event", KEEP))
        store.settle(RUN, "token")

        assert store.waiting() == 0
