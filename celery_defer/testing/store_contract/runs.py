"""Tests of the owner of a run, and of its memos."""

from __future__ import annotations

from dataclasses import replace

from celery_defer.ids import RunId
from celery_defer.store import Claim, Recalled, Resumed, Store, owner_of
from celery_defer.testing.store_contract.shorthand import KEEP, RUN, park, stage


class RunContract:
    """Tests of ``claim``, ``turn``, ``recall``, ``remember`` and ``resume``."""

    # -- claim ----------------------------------------------------------------------

    def test_the_first_to_claim_a_run_owns_it(self, store: Store) -> None:
        assert store.claim(RunId("run"), "first", KEEP) == Claim("first", is_mine=True)
        assert store.claim(RunId("run"), "second", KEEP) == Claim("first", is_mine=False)
        assert store.claim(RunId("run"), "first", KEEP) == Claim("first", is_mine=True)
        assert store.claim(RunId("other"), "second", KEEP) == Claim("second", is_mine=True)

    def test_an_owner_of_another_task_does_not_count(self, store: Store) -> None:
        forged, first, second = (owner_of(task, "token") for task in ("mail", "ship", "ship"))
        store.claim(RUN, forged, KEEP)

        assert store.claim(RUN, first, KEEP) == Claim(first, is_mine=True)
        assert store.claim(RUN, second, KEEP) == Claim(first, is_mine=False)

    def test_an_owner_without_a_task_counts_for_every_task(self, store: Store) -> None:
        store.claim(RUN, "aborted", KEEP)
        owner = owner_of("ship", "token")

        assert store.claim(RUN, owner, KEEP) == Claim("aborted", is_mine=False)
        store.claim(RunId("other"), owner, KEEP)
        assert store.claim(RunId("other"), "aborted", KEEP) == Claim(owner, is_mine=False)

    def test_a_claim_leaves_the_record_of_the_run(self, store: Store) -> None:
        store.claim(RunId("run"), "owner", KEEP)
        stage(store, "run", due=10)

        assert [record.token for record in store.take(10, 99, 10)] == ["token"]

    def test_a_run_that_has_parked_cannot_be_claimed(self, store: Store) -> None:
        store.claim(RUN, "first", KEEP)
        park(store)

        assert store.claim(RUN, "first", KEEP) == Claim("", is_mine=False)
        assert store.claim(RUN, "second", KEEP) == Claim("", is_mine=False)

    # -- turn, recall, remember -----------------------------------------------------

    def test_the_turn_of_a_run_is_how_often_it_has_parked(self, store: Store) -> None:
        assert store.turn(RUN) == 0

        park(store)
        assert store.turn(RUN) == 1

    def test_a_run_keeps_the_time_of_its_first_recall(self, store: Store) -> None:
        assert store.recall(RUN, 10.5, KEEP) == Recalled(turn=0, since=10.5)
        assert store.recall(RUN, 20, KEEP) == Recalled(turn=0, since=10.5)

    def test_a_recall_without_a_time_does_not_set_it(self, store: Store) -> None:
        assert store.recall(RUN, None, KEEP) == Recalled(turn=0, since=0)
        assert store.recall(RUN, 20, KEEP) == Recalled(turn=0, since=20)

    def test_the_first_memo_of_a_step_stays(self, store: Store) -> None:
        assert store.remember(RUN, {"charge": b"first"}, KEEP) == b"first"
        assert store.remember(RUN, {"charge": b"second"}, KEEP) == b"first"

        assert store.recall(RUN, 10, KEEP).memos == {"charge": b"first"}

    def test_memos_that_are_stored_together_each_belong_to_their_step(self, store: Store) -> None:
        store.remember(RUN, {"one": b"1"}, KEEP)

        assert store.remember(RUN, {"one": b"other", "two": b"2"}, KEEP) == b"2"
        assert store.recall(RUN, 10, KEEP).memos == {"one": b"1", "two": b"2"}

    def test_a_step_and_its_memo_may_have_any_characters(self, store: Store) -> None:
        step, memo = "turn\n{ü}: '%s'", bytes(range(256))
        store.remember(RUN, {step: memo}, KEEP)

        assert store.recall(RUN, 10, KEEP).memos == {step: memo}

    def test_runs_do_not_share_their_steps(self, store: Store) -> None:
        store.remember(RUN, {"charge": b"1"}, KEEP)

        assert store.recall(RunId("other"), 10, KEEP).memos == {}

    def test_a_run_has_its_steps_for_as_long_as_they_are_kept(self, store: Store) -> None:
        store.remember(RUN, {"charge": b"1"}, KEEP)

        store.expire(RUN, 0, KEEP)

        assert store.recall(RUN, 10, KEEP).memos == {"charge": b"1"}

    def test_an_unknown_run_cannot_be_kept(self, store: Store) -> None:
        store.expire(RUN, 0, KEEP)

        assert store.recall(RUN, None, KEEP) == Recalled(turn=0, since=0)

    # -- resume ---------------------------------------------------------------------

    def test_the_first_to_resume_a_turn_owns_it(self, store: Store) -> None:
        store.recall(RUN, 10, KEEP)
        park(store)
        recalled = Recalled(turn=1, since=10, waits={"wait": b"note"}, spans={"wait": b"span"})
        assert store.recall(RUN, 10, KEEP) == replace(recalled, is_parked=True)

        first = Resumed(Claim("first", is_mine=True), recalled)
        assert store.resume(RUN, 1, "first", KEEP) == first
        assert store.resume(RUN, 1, "first", KEEP) == first
        other = Resumed(Claim("first", is_mine=False), Recalled(turn=1, since=0))
        assert store.resume(RUN, 1, "second", KEEP) == other

    def test_only_the_current_turn_can_be_resumed(self, store: Store) -> None:
        park(store)

        assert store.resume(RUN, 0, "old", KEEP).claim == Claim("", is_mine=False)
        assert store.resume(RUN, 2, "early", KEEP).claim == Claim("", is_mine=False)
        assert store.resume(RUN, 1, "owner", KEEP).claim.is_mine

    def test_a_run_that_is_resumed_is_no_longer_in_the_outbox(self, store: Store) -> None:
        park(store)
        assert not store.resume(RUN, 0, "old", KEEP).claim.is_mine
        assert store.waiting() == 1

        store.resume(RUN, 1, "owner", KEEP)
        assert store.waiting() == 0

    def test_what_a_resumed_run_has_staged_stays_when_its_message_comes_again(
        self, store: Store
    ) -> None:
        park(store)
        store.resume(RUN, 1, "owner", KEEP)
        store.stage(RUN, "calls", b"calls", 10, KEEP)
        store.resume(RUN, 1, "owner", KEEP)
        store.resume(RUN, 1, "other", KEEP)

        assert store.waiting() == 1

    def test_the_next_turn_has_another_owner(self, store: Store) -> None:
        park(store)
        store.resume(RUN, 1, "first", KEEP)
        park(store, turn=1, step="again")

        assert store.resume(RUN, 2, "second", KEEP).claim == Claim("second", is_mine=True)

    def test_a_run_that_has_not_parked_is_in_its_first_turn(self, store: Store) -> None:
        assert store.resume(RUN, 0, "owner", KEEP).claim == Claim("owner", is_mine=True)

    def test_a_later_turn_of_an_unknown_run_cannot_be_resumed(self, store: Store) -> None:
        assert store.resume(RUN, 3, "owner", KEEP) == Resumed(Claim("", False), Recalled(0, 0.0))
