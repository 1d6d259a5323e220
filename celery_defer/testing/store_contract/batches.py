"""Tests of batches: calls that are gathered in one record."""

from __future__ import annotations

from dataclasses import replace

from celery_defer.ids import RunId
from celery_defer.store import Claim, Fact, Member, RunState, Store
from celery_defer.testing.store_contract.shorthand import KEEP, gather, kind_of, park, stage

_ABORTED = "aborted"


class BatchContract:
    """Tests of calls that are gathered, withdrawn, and taken."""

    def test_a_batch_is_due_at_its_timeout_after_its_first_call(self, store: Store) -> None:
        assert gather(store, "one", now=0) == []
        assert gather(store, "two", now=4) == []

        assert store.take(4.9, 99, 9) == []
        [batch] = store.take(5, 99, 9)
        assert batch.body == b"head one two "

    def test_a_full_batch_is_leased_at_once_and_the_next_is_opened(self, store: Store) -> None:
        ids = ("one", "two", "three", "four", "five")

        full = gather(store, *ids, kind=kind_of(most=2), until=30)

        assert [batch.body for batch in full] == [b"head one two ", b"head three four "]
        assert [batch.tries for batch in full] == [1, 1]
        assert [batch.body for batch in store.take(5, 99, 9)] == [b"head five "]
        assert [batch.tries for batch in store.take(30, 99, 9)] == [2, 2]  # nobody has settled them

    def test_a_batch_that_grows_is_full_at_its_last_call(self, store: Store) -> None:
        kind = kind_of(most=3)
        gather(store, "one", kind=kind)
        gather(store, "two", kind=kind, now=1)

        [batch] = gather(store, "three", kind=kind, now=2)

        assert batch.body == b"head one two three "
        assert gather(store, "four", kind=kind, now=2) == []
        assert [record.body for record in store.take(7, 99, 9)] == [b"head four "]

    def test_a_batch_leaves_before_it_has_too_many_bytes(self, store: Store) -> None:
        kind = kind_of(most_bytes=len(b"one two "))

        [batch] = gather(store, "one", "two", "three", kind=kind)

        assert batch.body == b"head one two "
        assert [record.body for record in store.take(5, 99, 9)] == [b"head three "]

    def test_a_call_with_more_bytes_than_a_batch_may_have_is_alone(self, store: Store) -> None:
        kind = kind_of(most_bytes=5)

        [first, second] = gather(store, "one", "much-longer", "two", kind=kind)

        assert [first.body, second.body] == [b"head one ", b"head much-longer "]

    def test_a_call_is_added_once(self, store: Store) -> None:
        gather(store, "one", "two", "one")
        gather(store, "two", "three", now=1)

        [batch] = store.take(5, 99, 9)
        gather(store, "one", "three", now=6)

        assert batch.body == b"head one two three "
        assert store.waiting() == 1

    def test_a_batch_that_is_due_or_leased_takes_no_more_calls(self, store: Store) -> None:
        gather(store, "one")
        gather(store, "two", now=5)
        assert [batch.body for batch in store.take(5, 8, 9)] == [b"head one "]
        gather(store, "three", now=6)

        assert sorted(batch.body for batch in store.take(10, 99, 9)) == [
            b"head one ", b"head two three "
        ]  # fmt: skip

    def test_a_batch_that_was_postponed_takes_no_more_calls(self, store: Store) -> None:
        gather(store, "one")
        [batch] = store.take(5, 99, 9)
        store.postpone(batch.id, batch.token, 50)

        gather(store, "two", now=6)

        assert [batch.body for batch in store.take(11, 99, 9)] == [b"head two "]

    def test_calls_of_several_kinds_are_gathered_in_one_go(self, store: Store) -> None:
        kinds = [kind_of("a", most=2), kind_of("b", most=2)]
        members = [
            Member(at, RunId(id), id.encode())
            for at, id in [(0, "1"), (1, "2"), (0, "3"), (1, "4")]
        ]

        full = store.gather(kinds, members, now=0, until=99, keep=KEEP, claims=KEEP)

        assert [batch.body for batch in full] == [b"head 13", b"head 24"]

    def test_the_id_of_a_batch_is_computed_from_its_first_call(self, store: Store) -> None:
        gather(store, "one", "two")

        [batch] = store.take(5, 99, 9)

        assert batch.id == "0847f79e-31a9-b80c-e89b-0cde73515c68"

    def test_the_run_of_a_call_is_owned_by_its_batch(self, store: Store) -> None:
        gather(store, "one")

        claim = store.claim(RunId("one"), "task.token.1", KEEP)

        [batch] = store.take(5, 99, 9)
        assert claim == Claim(f"task.{batch.id}", is_mine=False)

    def test_a_call_whose_run_has_an_owner_is_left_out(self, store: Store) -> None:
        store.claim(RunId("one"), _ABORTED, KEEP)
        store.claim(RunId("two"), "task.token.1", KEEP)
        store.claim(RunId("three"), "other-task.token.1", KEEP)  # does not count

        gather(store, "one", "two", "three", "four")

        assert [batch.body for batch in store.take(5, 99, 9)] == [b"head three four "]

    def test_a_call_whose_run_has_parked_is_left_out(self, store: Store) -> None:
        store.claim(RunId("one"), "task.token.1", KEEP)
        park(store, "one")
        store.settle(RunId("one"), None)

        gather(store, "one", "two")

        assert [batch.body for batch in store.take(5, 99, 9)] == [b"head two "]

    def test_a_call_that_is_withdrawn_gets_a_line_and_another_owner(self, store: Store) -> None:
        gather(store, "one", "two")
        fact = Fact(RunId("one"), "task", RunState.ABORTED, KEEP, b"{}")

        assert store.withdraw(RunId("one"), _ABORTED, b"-one ", KEEP, facts=[fact])
        assert not store.withdraw(RunId("one"), _ABORTED, b"-one ", KEEP)
        gather(store, "one", now=1)

        assert [batch.body for batch in store.take(5, 99, 9)] == [b"head one two -one "]
        assert store.claim(RunId("one"), "task.token.1", KEEP).owner == _ABORTED
        [history] = store.histories([RunId("one")])
        assert history is not None
        assert history.state is RunState.ABORTED

    def test_a_call_whose_batch_has_left_cannot_be_withdrawn(self, store: Store) -> None:
        gather(store, "one")
        [batch] = store.take(5, 99, 9)

        assert not store.withdraw(RunId("one"), _ABORTED, b"-one ", KEEP)
        store.settle(batch.id, batch.token)
        assert not store.withdraw(RunId("one"), _ABORTED, b"-one ", KEEP)

    def test_a_run_that_is_in_no_batch_cannot_be_withdrawn(self, store: Store) -> None:
        stage(store, "one", due=10)
        store.claim(RunId("two"), "task.token.1", KEEP)

        assert not any(
            store.withdraw(RunId(id), _ABORTED, b"-", KEEP) for id in ("one", "two", "three")
        )
        assert [record.body for record in store.take(10, 99, 9)] == [b"body"]

    def test_a_batch_that_came_back_from_quarantine_takes_no_more_calls(self, store: Store) -> None:
        gather(store, "one")
        [batch] = store.take(5, 99, 9)
        store.quarantine(batch.id, batch.token, "bad", KEEP)
        store.release(batch.id, "new-token", b"released", 50, KEEP)

        gather(store, "two", now=4)

        assert sorted(record.body for record in store.take(50, 99, 9)) == [
            b"head two ", b"released"
        ]  # fmt: skip

    def test_another_token_of_a_kind_joins_the_batch_that_is_open(self, store: Store) -> None:
        gather(store, "one")
        gather(store, "two", kind=replace(kind_of(), token="other", head=b"other "), now=1)
        gather(store, "three", now=2)

        [batch] = store.take(5, 99, 9)

        assert (batch.token, batch.body) == ("token", b"head one two three ")
