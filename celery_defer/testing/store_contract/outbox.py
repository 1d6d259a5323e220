"""Tests of the records in the outbox."""

from __future__ import annotations

from celery_defer.ids import RunId
from celery_defer.store import MOST_BYTES, Depth, Leased, Quarantined, Store
from celery_defer.testing.store_contract.shorthand import KEEP, stage


class OutboxContract:
    """Tests of records: staged, leased, settled, postponed, quarantined."""

    def test_a_staged_record_is_taken_when_it_is_due(self, store: Store) -> None:
        stage(store, "run", due=10)

        assert store.take(9.9, 99, 10) == []
        assert store.take(10, 99, 10) == [Leased(RunId("run"), "token", b"body", 1)]

    def test_a_leased_record_is_not_taken_again_until_its_lease_ends(self, store: Store) -> None:
        stage(store, "run", due=10)
        store.take(10, 20, 10)

        assert store.take(19.9, 99, 10) == []
        assert [record.tries for record in store.take(20, 99, 10)] == [2]

    def test_the_records_that_are_due_longest_are_taken_first(self, store: Store) -> None:
        for due in (3, 1, 2):
            stage(store, f"run-{due}", due=due)

        assert [record.id for record in store.take(9, 99, 2)] == ["run-1", "run-2"]
        assert [record.id for record in store.take(9, 99, 2)] == ["run-3"]

    def test_what_is_taken_says_for_how_long_it_has_been_due(self, store: Store) -> None:
        stage(store, "run", due=10)

        [first] = store.take(17, 20, 10)
        [again] = store.take(21, 99, 10)

        assert [round(lease.late or 0) for lease in (first, again)] == [7, 1]

    def test_large_records_are_taken_a_few_at_a_time(self, store: Store) -> None:
        third, counts = MOST_BYTES // 3, []
        for due, size in enumerate([third, third, MOST_BYTES, 2 * MOST_BYTES, third, third]):
            stage(store, f"run-{due}", due=due, body=b"x" * size)

        while records := store.take(9, 99, 10):
            counts.append(len(records))

        assert counts == [2, 1, 1, 2]

    def test_a_later_record_of_a_run_replaces_the_earlier(self, store: Store) -> None:
        stage(store, "run", due=10, token="first", body=b"first")
        store.take(10, 20, 10)
        assert store.stage(RunId("run"), "second", b"second", 15, KEEP)

        assert store.take(15, 99, 10) == [Leased(RunId("run"), "second", b"second", 1)]

    def test_staging_without_replacing_keeps_another_attempts_record(self, store: Store) -> None:
        id = RunId("run")
        store.stage(id, "first", b"first", 10, KEEP)

        assert not store.stage(id, "second", b"second", 15, KEEP, replaces=False)
        assert store.take(15, 99, 10) == [Leased(id, "first", b"first", 1)]

    def test_staging_without_replacing_stages_where_there_is_no_record(self, store: Store) -> None:
        id = RunId("run")

        assert store.stage(id, "token", b"body", 10, KEEP, replaces=False)
        assert store.stage(id, "token", b"again", 10, KEEP, replaces=False)  # its reply was lost
        store.settle(id, "token")
        assert store.stage(id, "other", b"other", 10, KEEP, replaces=False)
        assert store.take(10, 99, 10) == [Leased(id, "other", b"other", 1)]

    def test_a_body_of_any_bytes_comes_back(self, store: Store) -> None:
        body = bytes(range(256)) * 100
        stage(store, "run", due=10, body=body)

        assert [record.body for record in store.take(10, 99, 10)] == [body]

    def test_a_settled_record_is_gone(self, store: Store) -> None:
        stage(store, "run", due=10)
        store.settle(RunId("run"), "token")

        assert store.take(99, 999, 10) == []
        assert store.waiting() == 0

    def test_settling_an_earlier_record_leaves_the_later_one(self, store: Store) -> None:
        stage(store, "run", due=10, token="first")
        stage(store, "run", due=10, token="second")
        store.settle(RunId("run"), "first")

        assert [record.token for record in store.take(10, 99, 10)] == ["second"]

    def test_settling_twice_does_nothing(self, store: Store) -> None:
        stage(store, "run", due=10)
        store.settle(RunId("run"), "token")
        store.settle(RunId("run"), "token")
        store.settle(RunId("unknown"), "token")

        assert store.waiting() == 0

    def test_settling_without_a_token_removes_any_record(self, store: Store) -> None:
        stage(store, "run", due=10)
        store.settle(RunId("run"), None)
        store.settle(RunId("unknown"), None)

        assert store.waiting() == 0
        assert store.take(99, 999, 10) == []

    def test_a_claim_that_settles_removes_the_record_of_a_run_that_it_gets(
        self, store: Store
    ) -> None:
        for id in ("mine", "anothers", "kept"):
            stage(store, id, due=10)
        store.claim(RunId("anothers"), "another", KEEP)
        for id in ("mine", "anothers"):
            store.claim(RunId(id), "owner", KEEP, settles=True)
        store.claim(RunId("kept"), "owner", KEEP)

        assert [record.id for record in store.take(10, 99, 10)] == ["anothers", "kept"]

    def test_a_postponed_record_is_due_later(self, store: Store) -> None:
        stage(store, "run", due=10)
        store.take(10, 99, 10)
        store.postpone(RunId("run"), "token", 30)

        assert store.take(29.9, 99, 10) == []
        assert [record.body for record in store.take(30, 99, 10)] == [b"body"]

    def test_a_postponed_record_may_get_another_body(self, store: Store) -> None:
        stage(store, "run", due=10)
        store.postpone(RunId("run"), "token", 30, b"other")

        assert [record.body for record in store.take(30, 99, 10)] == [b"other"]

    def test_an_earlier_or_settled_record_cannot_be_postponed(self, store: Store) -> None:
        stage(store, "run", due=10, token="second", body=b"second")
        store.postpone(RunId("run"), "first", 99, b"first")
        store.postpone(RunId("gone"), "token", 1)

        assert [record.body for record in store.take(10, 99, 10)] == [b"second"]

    def test_a_quarantined_record_is_listed_and_not_taken(self, store: Store) -> None:
        stage(store, "run", due=10, body=b"\xff bad")
        store.quarantine(RunId("run"), "token", "it is bad", KEEP)

        assert store.take(99, 999, 10) == []
        (entry,) = store.quarantined()
        assert (entry.id, entry.reason) == ("run", "it is bad")
        assert entry.body == b"\xff bad"

    def test_an_earlier_record_cannot_be_quarantined(self, store: Store) -> None:
        stage(store, "run", due=10, token="second")
        store.quarantine(RunId("run"), "first", "it is bad", KEEP)

        assert store.quarantined() == list[Quarantined]()
        assert store.waiting() == 1

    def test_waiting_counts_the_records_that_are_not_settled(self, store: Store) -> None:
        stage(store, "one", due=10)
        stage(store, "two", due=99)
        store.take(10, 99, 10)

        assert store.waiting() == 2

    def test_the_depth_tells_what_is_due_and_for_how_long(self, store: Store) -> None:
        assert store.depth(10) == Depth(0, 0, 0.0, 0)

        for number, due in enumerate((5, 8, 20)):
            stage(store, f"run-{number}", due=due)
        stage(store, "bad", due=1, token="token")
        store.quarantine(RunId("bad"), "token", "unreadable", KEEP)

        depth = store.depth(10)
        assert (depth.records, depth.due, round(depth.late), depth.quarantined) == (3, 2, 5, 1)

    def test_nothing_is_late_before_it_is_due(self, store: Store) -> None:
        stage(store, "run", due=20)

        assert store.depth(10) == Depth(1, 0, 0.0, 0)

    def test_waiting_counts_the_records_that_are_due_by_a_time(self, store: Store) -> None:
        stage(store, "one", due=10)
        stage(store, "two", due=99)

        assert [store.waiting(until) for until in (9.9, 10, 99)] == [0, 1, 2]
