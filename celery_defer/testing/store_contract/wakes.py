"""Tests of which runs an event wakes, and of who publishes them."""

from __future__ import annotations

from celery_defer.ids import RunId
from celery_defer.store import MOST_BYTES, Emitted, Leased, Rest, Store
from celery_defer.testing.store_contract.shorthand import (
    BY_NAME,
    KEEP,
    NOBODY,
    PARKED,
    RUN,
    SHAPE,
    emit,
    event,
    learn,
    park,
    wait_for,
)


class WakeContract:
    """Tests of what ``emit`` does with waiting runs, and of woken runs that do not resume."""

    def test_an_event_wakes_all_that_wait_for_its_values(self, store: Store) -> None:
        learn(store, wait_for("by-user", SHAPE))
        park(store, "one", now=12, wait=wait_for())
        park(store, "two", now=11, wait=wait_for("by-user", SHAPE))
        park(store, "three", now=11, wait=wait_for("by-other", SHAPE))
        park(store, "four", now=11)

        emitted = emit(store, event(), {**BY_NAME, SHAPE: "by-user"})

        assert (emitted.woken, emitted.has_more) == (2, False)
        assert [record.id for record in emitted.leased] == ["one", "two"]
        for id in ("one", "two"):
            assert store.recall(RunId(id), 10, KEEP).memos == {"wait": b"event"}
        assert store.recall(RunId("three"), 10, KEEP).memos == {}

    def test_a_woken_run_is_leased_to_the_sender(self, store: Store) -> None:
        park(store, due=15, wait=wait_for())

        emitted = emit(store, event(), now=12, until=22)

        assert emitted.leased == (Leased(RUN, "token", b"body", 1),)
        assert store.take(21.9, 99, 10) == []
        assert store.take(22, 99, 10) == [Leased(RUN, "token", b"body", 2)]

    def test_a_woken_run_is_not_woken_by_the_next_event(self, store: Store) -> None:
        park(store, wait=wait_for())
        emit(store, event("first"))

        assert emit(store, event("second"), now=99) == NOBODY
        assert store.recall(RUN, 10, KEEP).memos == {"wait": b"first"}

    def test_a_run_that_a_relay_has_leased_gets_the_event_only(self, store: Store) -> None:
        park(store, due=15, wait=wait_for())
        store.take(15, 45, 10)

        assert emit(store, event(), now=44) == Emitted(woken=1)
        assert store.recall(RUN, 10, KEEP).memos == {"wait": b"event"}
        assert store.take(45, 99, 10) == [Leased(RUN, "token", b"body", 2)]

    def test_a_run_that_the_sender_has_leased_is_not_leased_again(self, store: Store) -> None:
        park(store, wait=wait_for())
        emit(store, event(), now=20, until=30)

        assert store.arrive(RUN, "wait", 29.9, 99) is None
        assert store.arrive(RUN, "wait", 30, 99) == Leased(RUN, "token", b"body", 2)

    def test_a_run_whose_lease_has_ended_is_leased_to_the_sender(self, store: Store) -> None:
        park(store, due=15, wait=wait_for())
        store.take(15, 45, 10)

        assert [record.tries for record in emit(store, event(), now=45).leased] == [2]

    def test_the_runs_above_the_limit_are_leased_by_the_next_call(self, store: Store) -> None:
        for number in range(3):
            park(store, f"run-{number}", wait=wait_for())

        batches = [emit(store, event(), limit=2) for _ in range(2)]

        assert [(batch.woken, batch.has_more) for batch in batches] == [(2, True), (1, False)]
        assert [[record.id for record in batch.leased] for batch in batches] == [
            ["run-0", "run-1"],
            ["run-2"],
        ]

    def test_runs_with_large_records_are_leased_a_few_at_a_time(self, store: Store) -> None:
        for id in ("a", "b", "c"):
            park(store, id, wait=wait_for(), body=b"x" * MOST_BYTES)

        batches = [emit(store, event()) for _ in range(3)]

        assert [[lease.id for lease in batch.leased] for batch in batches] == [["a"], ["b"], ["c"]]
        assert [batch.has_more for batch in batches] == [True, True, False]

    def test_there_are_no_more_where_the_runs_are_as_many_as_the_limit(self, store: Store) -> None:
        for id in ("one", "two"):
            park(store, id, wait=wait_for())

        assert not emit(store, event(), limit=2).has_more

    def test_a_run_that_has_received_the_event_waits_for_the_next(self, store: Store) -> None:
        park(store, "fast", wait=wait_for())
        park(store, "slow", wait=wait_for())
        emit(store, event("first"), limit=1)
        park(store, "fast", turn=1, step="next", wait=wait_for())

        emitted = emit(store, event("first"), limit=1)

        assert [record.id for record in emitted.leased] == ["slow"]
        assert [record.id for record in emit(store, event("second"), now=99).leased] == ["fast"]

    def test_an_event_does_not_overtake_one_that_is_slower(self, store: Store) -> None:
        for id in ("one", "two"):
            park(store, id, wait=wait_for())
        emit(store, event("first"), limit=1)

        second = emit(store, event("second", at=21))
        slower = emit(store, event("first"))

        assert [record.id for record in second.leased] == ["two"]
        assert store.recall(RunId("two"), 22, KEEP).memos == {"wait": b"first"}
        assert (slower.woken, slower.has_more) == (0, False)
        park(store, "two", turn=1, step="next", wait=wait_for())
        assert store.recall(RunId("two"), 22, KEEP).memos["next"] == b"second"
        assert park(store, "two", turn=1, step="last", wait=wait_for()) == PARKED

    def test_the_rest_of_a_fan_out_is_in_the_outbox(self, store: Store) -> None:
        for id in ("one", "two"):
            park(store, id, wait=wait_for())
        rest = Rest(RunId("event"), "rest", b"event", KEEP)

        assert emit(store, event(), now=20, limit=1, until=30, rest=rest).has_more
        assert store.take(19.9, 99, 10) == []
        assert store.take(20, 99, 10) == [Leased(rest.id, "rest", b"event", 1)]

    def test_the_rest_of_a_fan_out_sets_off_the_alarm(self, store: Store) -> None:
        for id in ("one", "two"):
            park(store, id, wait=wait_for())
        alarm = store.alarm()
        while alarm.wait(0.05) is not None:  # alarms of earlier tests
            pass

        emit(store, event(), limit=1, rest=Rest(RunId("event"), "rest", b"event", KEEP))

        assert alarm.wait(5) is not None
        alarm.close()

    def test_a_fan_out_without_a_rest_leaves_no_record(self, store: Store) -> None:
        park(store, wait=wait_for())
        emit(store, event(), rest=Rest(RunId("event"), "rest", b"event", KEEP))
        store.settle(RUN, "token")

        assert store.waiting() == 0

    # -- expect ---------------------------------------------------------------------

    def test_a_woken_run_that_does_not_resume_is_taken_again(self, store: Store) -> None:
        park(store, due=15)
        store.take(15, 45, 10)
        store.expect([(RUN, "token", 60)])

        assert store.take(59.9, 99, 10) == []
        assert store.take(60, 99, 10) == [Leased(RUN, "token", b"body", 2)]

    def test_a_woken_run_that_resumes_is_not_taken_again(self, store: Store) -> None:
        park(store, due=15, wait=wait_for())
        store.take(15, 45, 10)
        store.resume(RUN, 1, "owner", KEEP)
        store.expect([(RUN, "token", 60)])  # it was faster

        assert store.waiting() == 0
        assert emit(store, event()) == NOBODY

    def test_only_the_records_with_these_tokens_are_expected(self, store: Store) -> None:
        for id in ("one", "two", "three"):
            park(store, id, due=15)
        store.expect([(RunId("one"), "token", 60), (RunId("two"), "other", 60)])
        store.expect([(RunId("gone"), "token", 60)])
        store.expect([])

        assert [record.id for record in store.take(15, 99, 10)] == ["three", "two"]
        assert store.waiting() == 3

    def test_a_woken_run_receives_an_event_until_it_resumes(self, store: Store) -> None:
        park(store, due=15, wait=wait_for())
        store.take(15, 45, 10)
        store.expect([(RUN, "token", 60)])

        assert emit(store, event()) == Emitted(woken=1)
        assert store.resume(RUN, 1, "owner", KEEP).recalled.memos == {"wait": b"event"}
