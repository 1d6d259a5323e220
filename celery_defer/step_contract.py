"""The contract of a store for runs that have steps, and for the events that they wait for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from celery_defer.ids import RunId
from celery_defer.store import (
    NO_SHAPE,
    Arrival,
    Claim,
    Emitted,
    Parking,
    Recalled,
    Resumed,
    SentEvent,
    Store,
    Subscription,
    Taken,
    Verdict,
)

__all__ = ["StepContract"]

_KEEP = 600.0
_UNTIL = 5_000.0
_RUN = RunId("run")
_BY_NAME = {NO_SHAPE: "by-name"}
_SHAPE = '["user.id"]'
_PARKED = Arrival(Verdict.PARKED)
_NOBODY = Emitted()


class StepContract:
    """Tests of what ``StepStore`` says; a part of ``StoreContract``."""

    # -- recall, remember -------------------------------------------------------------

    def test_a_run_is_seen_once(self, store: Store) -> None:
        assert store.recall(_RUN, 10.5, _KEEP) == Recalled(turn=0, since=10.5)
        assert store.recall(_RUN, 20, _KEEP) == Recalled(turn=0, since=10.5)

    def test_a_run_that_may_have_no_steps_is_not_seen_by_a_look(self, store: Store) -> None:
        assert store.recall(_RUN, None, _KEEP) == Recalled(turn=0, since=0)
        assert store.recall(_RUN, 20, _KEEP) == Recalled(turn=0, since=20)

    def test_the_first_memo_of_a_step_stays(self, store: Store) -> None:
        assert store.remember(_RUN, {"charge": b"first"}, _KEEP) == b"first"
        assert store.remember(_RUN, {"charge": b"second"}, _KEEP) == b"first"

        assert store.recall(_RUN, 10, _KEEP).memos == {"charge": b"first"}

    def test_memos_that_are_kept_together_each_find_their_step(self, store: Store) -> None:
        store.remember(_RUN, {"one": b"1"}, _KEEP)

        assert store.remember(_RUN, {"one": b"other", "two": b"2"}, _KEEP) == b"2"
        assert store.recall(_RUN, 10, _KEEP).memos == {"one": b"1", "two": b"2"}

    def test_a_step_and_its_memo_may_have_any_characters(self, store: Store) -> None:
        step, memo = "turn\n{ü}: '%s'", bytes(range(256))
        store.remember(_RUN, {step: memo}, _KEEP)

        assert store.recall(_RUN, 10, _KEEP).memos == {step: memo}

    def test_runs_do_not_share_their_steps(self, store: Store) -> None:
        store.remember(_RUN, {"charge": b"1"}, _KEEP)

        assert store.recall(RunId("other"), 10, _KEEP).memos == {}

    # -- resume -----------------------------------------------------------------------

    def test_a_turn_belongs_to_who_comes_first(self, store: Store) -> None:
        store.recall(_RUN, 10, _KEEP)
        park(store)
        known = Recalled(turn=1, since=10, waits={"wait": b"note"})

        first = Resumed(Claim("first", is_mine=True), known)
        assert store.resume(_RUN, 1, "first", _KEEP) == first
        assert store.resume(_RUN, 1, "first", _KEEP) == first
        assert store.resume(_RUN, 1, "second", _KEEP) == Resumed(Claim("first", False), known)

    def test_a_turn_that_is_over_or_to_come_belongs_to_nobody(self, store: Store) -> None:
        park(store)

        assert store.resume(_RUN, 0, "old", _KEEP).claim == Claim("", is_mine=False)
        assert store.resume(_RUN, 2, "early", _KEEP).claim == Claim("", is_mine=False)
        assert store.resume(_RUN, 1, "owner", _KEEP).claim.is_mine

    def test_the_next_turn_has_another_owner(self, store: Store) -> None:
        park(store)
        store.resume(_RUN, 1, "first", _KEEP)
        park(store, turn=1, step="again")

        assert store.resume(_RUN, 2, "second", _KEEP).claim == Claim("second", is_mine=True)

    def test_a_run_that_has_not_parked_is_in_its_first_turn(self, store: Store) -> None:
        assert store.resume(_RUN, 0, "owner", _KEEP).claim == Claim("owner", is_mine=True)

    def test_a_run_that_is_not_known_is_in_no_later_turn(self, store: Store) -> None:
        assert store.resume(_RUN, 3, "owner", _KEEP) == Resumed(Claim("", False), Recalled(0, 0.0))

    def test_a_run_that_has_parked_cannot_be_claimed(self, store: Store) -> None:
        store.claim(_RUN, "first", _KEEP)
        park(store)

        assert store.claim(_RUN, "first", _KEEP) == Claim("", is_mine=False)
        assert store.claim(_RUN, "second", _KEEP) == Claim("", is_mine=False)

    # -- park -------------------------------------------------------------------------

    def test_a_parked_run_is_due_as_any_record_is(self, store: Store) -> None:
        assert park(store, due=15) == _PARKED

        assert store.waiting() == 1
        assert store.take(14.9, 99, 10) == []
        assert store.take(15, 99, 10) == [Taken(_RUN, "token", b"body", 1)]

    def test_a_run_parks_in_its_own_turn_only(self, store: Store) -> None:
        park(store, due=15)

        assert park(store, due=1, token="old").verdict is Verdict.SUPERSEDED
        assert park(store, turn=2, due=1, token="early").verdict is Verdict.SUPERSEDED
        assert store.recall(_RUN, 10, _KEEP).turn == 1
        assert [taken.token for taken in store.take(15, 99, 10)] == ["token"]

    def test_each_step_that_has_parked_leaves_its_note(self, store: Store) -> None:
        park(store, step="one", note=b"1")
        park(store, turn=1, step="two", note=b"2")
        park(store, turn=2, step="one", note=b"3")

        known = store.recall(_RUN, 10, _KEEP)
        assert (known.turn, known.waits) == (3, {"one": b"3", "two": b"2"})

    def test_a_run_that_parks_again_has_one_record(self, store: Store) -> None:
        park(store, due=15)
        store.take(15, 99, 10)
        park(store, turn=1, step="again", due=16, token="second")

        assert [(each.token, each.tries) for each in store.take(16, 99, 10)] == [("second", 1)]
        assert store.waiting() == 1

    def test_a_cancelled_run_does_not_park(self, store: Store) -> None:
        store.cancel(_RUN, _KEEP, _UNTIL)

        assert park(store).verdict is Verdict.CANCELLED
        assert store.waiting() == 0

    def test_a_step_that_has_a_memo_does_not_park(self, store: Store) -> None:
        store.remember(_RUN, {"wait": b"faster"}, _KEEP)

        assert park(store) == Arrival(Verdict.ARRIVED, memo=b"faster")
        assert store.recall(_RUN, 10, _KEEP).turn == 0
        assert store.waiting() == 0

    def test_an_event_that_was_sent_already_is_not_waited_for(self, store: Store) -> None:
        emit(store, event("early", at=20))

        assert park(store, wait=wait_for(since=20)) == Arrival(Verdict.ARRIVED, memo=b"early")
        known = store.recall(_RUN, 10, _KEEP)
        assert (known.turn, known.memos, known.waits) == (0, {"wait": b"early"}, {})
        assert store.waiting() == 0

    def test_an_event_from_before_the_run_does_not_count(self, store: Store) -> None:
        emit(store, event("early", at=20))

        assert park(store, wait=wait_for(since=20.001)) == _PARKED

    def test_the_first_of_the_events_that_were_sent_counts(self, store: Store) -> None:
        for id, at in (("second", 22), ("first", 21), ("third", 23)):
            emit(store, event(id, at=at))

        assert park(store, wait=wait_for()).memo == b"first"

    def test_a_run_receives_an_event_once(self, store: Store) -> None:
        emit(store, event("first", at=20))
        emit(store, event("second", at=21))

        found = [park(store, step=step, wait=wait_for()) for step in ("one", "two", "three")]

        assert [arrival.memo for arrival in found] == [b"first", b"second", None]
        assert found[2] == _PARKED

    def test_many_events_that_were_received_are_passed_over(self, store: Store) -> None:
        for number in range(250):
            emit(store, event(f"{number:03}", at=20))
            park(store, step=f"step-{number}", wait=wait_for())

        assert park(store, wait=wait_for()) == _PARKED

    def test_an_event_is_received_once_also_by_different_values(self, store: Store) -> None:
        learn(store, wait_for("by-user", _SHAPE))
        emit(store, event("both"), {**_BY_NAME, _SHAPE: "by-user"})
        park(store, step="one", wait=wait_for())

        assert park(store, step="two", wait=wait_for("by-user", _SHAPE)).memo is None

    def test_values_are_known_since_somebody_waited_for_them(self, store: Store) -> None:
        first = park(store, now=10, wait=wait_for("one", _SHAPE), early=None)
        later = park(store, "other", now=20, wait=wait_for("two", _SHAPE), early=None)

        assert first.verdict is Verdict.LOOK
        assert first.known > 10  # a sender's clock may be ahead
        assert later == first
        assert store.waiting() == 0

    def test_who_waits_for_what_was_known_before_need_not_look(self, store: Store) -> None:
        known = park(store, now=10, wait=wait_for("one", _SHAPE), early=None).known
        wait = wait_for("two", _SHAPE, since=known)

        assert park(store, wait=wait, early=None) == _PARKED

    def test_an_event_by_its_name_alone_is_always_known(self, store: Store) -> None:
        assert park(store, wait=wait_for(), early=None) == _PARKED

    def test_an_early_event_that_was_found_is_what_the_step_answers(self, store: Store) -> None:
        wait = wait_for("by-user", _SHAPE)
        found = [event("first", at=8), event("second", at=9)]

        assert park(store, wait=wait, early=found).memo == b"first"
        assert park(store, step="next", wait=wait, early=found).memo == b"second"
        assert park(store, step="last", wait=wait, early=found) == _PARKED

    def test_an_event_that_comes_while_somebody_looks_is_received(self, store: Store) -> None:
        wait = wait_for("by-user", _SHAPE)
        park(store, wait=wait, early=None)
        emit(store, event(), {**_BY_NAME, _SHAPE: "by-user"})

        assert park(store, wait=wait, early=()).memo == b"event"

    # -- cancel -----------------------------------------------------------------------

    def test_a_parked_run_that_is_cancelled_answers_its_record(self, store: Store) -> None:
        park(store, due=15, wait=wait_for())

        assert store.cancel(_RUN, _KEEP, _UNTIL, only_parked=True) == b"body"
        assert store.recall(_RUN, 10, _KEEP).is_cancelled
        assert store.take(99, 999, 10) == []
        assert emit(store, event()) == _NOBODY
        assert store.cancel(_RUN, _KEEP, _UNTIL) is None

    def test_who_cancels_settles_or_else_a_relay_takes_the_record(self, store: Store) -> None:
        park(store, due=15, wait=wait_for())
        store.cancel(_RUN, _KEEP, _UNTIL)

        assert [taken.body for taken in store.take(_UNTIL, 9_999, 10)] == [b"body"]
        store.settle(_RUN, None)
        assert store.waiting() == 0

    def test_a_run_at_work_is_cancelled_too_unless_only_parked_ones_are(self, store: Store) -> None:
        assert store.cancel(_RUN, _KEEP, _UNTIL, only_parked=True) is None
        assert not store.recall(_RUN, 10, _KEEP).is_cancelled

        assert store.cancel(_RUN, _KEEP, _UNTIL) is None
        assert store.recall(_RUN, 10, _KEEP).is_cancelled

    def test_what_a_cancelled_run_has_staged_stays(self, store: Store) -> None:
        store.stage(_RUN, "token", b"calls", 10, _KEEP)()

        assert store.cancel(_RUN, _KEEP, _UNTIL, only_parked=True) is None
        assert store.cancel(_RUN, _KEEP, _UNTIL) is None
        assert [taken.body for taken in store.take(10, 99, 10)] == [b"calls"]

    # -- next_due, nudges -------------------------------------------------------------

    def test_the_next_due_is_the_earliest(self, store: Store) -> None:
        assert store.next_due() is None

        store.stage(RunId("staged"), "token", b"body", 20, _KEEP)()
        park(store, due=15.5)
        assert store.next_due() == 15.5

        store.take(15.5, 99, 10)
        assert store.next_due() == 20

    def test_a_run_that_parks_for_a_short_time_wakes_who_rests(self, store: Store) -> None:
        nudges = store.nudges()
        while nudges.wait(0.05) is not None:  # what it has missed before
            pass

        park(store, now=10, due=15.5)

        assert nudges.wait(5) == 15.5
        assert nudges.wait(0.05) is None
        nudges.close()

    # -- the outbox, where runs are parked --------------------------------------------

    def test_a_settled_run_waits_no_longer(self, store: Store) -> None:
        park(store, wait=wait_for())
        store.settle(_RUN, "token")

        assert emit(store, event()) == _NOBODY
        assert store.waiting() == 0

    def test_many_records_are_settled_at_once(self, store: Store) -> None:
        for id in ("one", "two", "three"):
            park(store, id, wait=wait_for())
        store.settle_all([(RunId("one"), "token"), (RunId("two"), "other"), (RunId("gone"), "x")])

        assert emit(store, event()).woken == 2
        assert store.waiting() == 2

    def test_settling_nothing_is_no_mistake(self, store: Store) -> None:
        store.settle_all([])

        assert store.waiting() == 0

    def test_what_a_run_stages_takes_the_place_of_its_wait(self, store: Store) -> None:
        park(store, wait=wait_for())
        store.stage(_RUN, "calls", b"calls", 10, _KEEP)()

        assert emit(store, event()) == _NOBODY
        assert store.arrive(_RUN, "wait", 20, 30) is None
        assert store.cancel(_RUN, _KEEP, _UNTIL, only_parked=True) is None
        assert store.take(10, 99, 10) == [Taken(_RUN, "calls", b"calls", 1)]

    def test_a_quarantined_run_waits_no_longer(self, store: Store) -> None:
        park(store, wait=wait_for())
        store.quarantine(_RUN, "token", "it is bad", _KEEP)

        assert emit(store, event()) == _NOBODY
        assert store.recall(_RUN, 10, _KEEP).memos == {}

    def test_a_postponed_run_goes_on_waiting(self, store: Store) -> None:
        park(store, due=15, wait=wait_for())
        store.take(15, 99, 10)
        store.postpone(_RUN, "token", 50)

        assert emit(store, event()).taken == (Taken(_RUN, "token", b"body", 2),)

    def test_a_later_wait_takes_the_place_of_the_earlier(self, store: Store) -> None:
        park(store, wait=wait_for("one"))
        park(store, turn=1, step="again", wait=wait_for("two"))

        assert emit(store, event(), {NO_SHAPE: "one"}) == _NOBODY
        assert emit(store, event("next"), {NO_SHAPE: "two"}).woken == 1

    # -- emit -------------------------------------------------------------------------

    def test_an_event_wakes_all_that_wait_for_its_values(self, store: Store) -> None:
        learn(store, wait_for("by-user", _SHAPE))
        park(store, "one", now=12, wait=wait_for())
        park(store, "two", now=11, wait=wait_for("by-user", _SHAPE))
        park(store, "three", now=11, wait=wait_for("by-other", _SHAPE))
        park(store, "four", now=11)

        found = emit(store, event(), {**_BY_NAME, _SHAPE: "by-user"})

        assert (found.woken, found.has_more) == (2, False)
        assert [taken.id for taken in found.taken] == ["one", "two"]
        for id in ("one", "two"):
            assert store.recall(RunId(id), 10, _KEEP).memos == {"wait": b"event"}
        assert store.recall(RunId("three"), 10, _KEEP).memos == {}

    def test_a_woken_run_is_leased_to_the_sender(self, store: Store) -> None:
        park(store, due=15, wait=wait_for())

        found = emit(store, event(), now=12, until=22)

        assert found.taken == (Taken(_RUN, "token", b"body", 1),)
        assert store.take(21.9, 99, 10) == []
        assert store.take(22, 99, 10) == [Taken(_RUN, "token", b"body", 2)]

    def test_a_woken_run_is_not_woken_by_the_next_event(self, store: Store) -> None:
        park(store, wait=wait_for())
        emit(store, event("first"))

        assert emit(store, event("second"), now=99) == _NOBODY
        assert store.recall(_RUN, 10, _KEEP).memos == {"wait": b"first"}

    def test_an_event_that_a_run_has_not_received_is_there_for_its_next_wait(
        self, store: Store
    ) -> None:
        park(store, wait=wait_for())
        emit(store, event("first", at=20))
        emit(store, event("second", at=21))

        assert park(store, turn=1, step="next", wait=wait_for()).memo == b"second"

    def test_a_run_that_a_relay_has_is_told_but_not_given_to_the_sender(self, store: Store) -> None:
        park(store, due=15, wait=wait_for())
        store.take(15, 45, 10)

        assert emit(store, event(), now=44) == Emitted(woken=1)
        assert store.recall(_RUN, 10, _KEEP).memos == {"wait": b"event"}
        assert store.take(45, 99, 10) == [Taken(_RUN, "token", b"body", 2)]

    def test_a_run_that_a_sender_has_is_given_to_nobody_else(self, store: Store) -> None:
        park(store, wait=wait_for())
        emit(store, event(), now=20, until=30)

        assert store.arrive(_RUN, "wait", 29.9, 99) is None
        assert store.arrive(_RUN, "wait", 30, 99) == Taken(_RUN, "token", b"body", 2)

    def test_an_event_after_the_timeout_is_there_for_the_next_wait(self, store: Store) -> None:
        park(store, due=15, wait=wait_for())
        store.take(15, 45, 10)
        store.remember(_RUN, {"wait": b"nothing"}, _KEEP)

        assert emit(store, event("late")) == _NOBODY
        assert park(store, turn=1, step="next", wait=wait_for()).memo == b"late"

    def test_a_run_whose_lease_has_ended_is_given_to_the_sender(self, store: Store) -> None:
        park(store, due=15, wait=wait_for())
        store.take(15, 45, 10)

        assert [taken.tries for taken in emit(store, event(), now=45).taken] == [2]

    def test_an_event_that_lacks_a_value_wakes_nobody_who_compares_it(self, store: Store) -> None:
        learn(store, wait_for("by-user", _SHAPE))
        park(store, wait=wait_for("by-user", _SHAPE))

        assert emit(store, event(), {**_BY_NAME, _SHAPE: ""}) == _NOBODY
        assert store.past("event", "", 0, 99) == []

    def test_a_sender_that_knows_other_shapes_is_told_them(self, store: Store) -> None:
        park(store, "one", now=10, wait=wait_for("one", '["b"]'))
        park(store, "two", now=11, wait=wait_for("two", '["a"]'))
        told = Emitted(unknown_shapes=['["b"]', '["a"]'])

        assert emit(store, event()) == told
        assert emit(store, event(), {**_BY_NAME, '["b"]': "one"}) == told
        assert emit(store, event(), {**_BY_NAME, '["b"]': "one", '["c"]': "two"}) == told
        assert store.past("event", "by-name", 0, 99) == []
        assert emit(store, event(), {**_BY_NAME, '["b"]': "one", '["a"]': "two"}).woken == 2

    def test_shapes_are_known_by_the_name_of_the_event(self, store: Store) -> None:
        park(store, wait=wait_for("by-user", _SHAPE, name="other"))

        assert emit(store, event()) == _NOBODY

    def test_no_more_runs_are_leased_than_wanted_and_the_rest_the_next_time(
        self, store: Store
    ) -> None:
        for number in range(3):
            park(store, f"run-{number}", wait=wait_for())

        found = [emit(store, event(), limit=2) for _ in range(2)]

        assert [(each.woken, each.has_more) for each in found] == [(2, True), (1, False)]
        assert [[taken.id for taken in each.taken] for each in found] == [
            ["run-0", "run-1"],
            ["run-2"],
        ]

    def test_as_many_runs_as_wanted_are_not_followed_by_more(self, store: Store) -> None:
        for id in ("one", "two"):
            park(store, id, wait=wait_for())

        assert not emit(store, event(), limit=2).has_more

    def test_an_event_that_goes_on_is_kept_once(self, store: Store) -> None:
        for id in ("one", "two"):
            park(store, id, wait=wait_for())
        emit(store, event(), limit=1)
        emit(store, event(at=25), limit=1)

        assert [kept.at for kept in store.past("event", "by-name", 0, 99)] == [20]

    def test_who_has_received_the_event_goes_on_waiting_for_the_next(self, store: Store) -> None:
        park(store, "fast", wait=wait_for())
        park(store, "slow", wait=wait_for())
        emit(store, event("first"), limit=1)
        park(store, "fast", turn=1, step="next", wait=wait_for())

        found = emit(store, event("first"), limit=1)

        assert [taken.id for taken in found.taken] == ["slow"]
        assert [taken.id for taken in emit(store, event("second"), now=99).taken] == ["fast"]

    def test_a_named_event_counts_once(self, store: Store) -> None:
        park(store, wait=wait_for())
        emit(store, event(is_named=True))
        park(store, "later", wait=wait_for(since=30))

        assert emit(store, event(at=40, is_named=True)) == _NOBODY
        assert [kept.at for kept in store.past("event", "by-name", 0, 99)] == [20]

    def test_a_named_event_goes_on_for_a_sender_that_came_back(self, store: Store) -> None:
        for id in ("one", "two"):
            park(store, id, wait=wait_for())
        emit(store, event(is_named=True), limit=1)

        assert emit(store, event(is_named=True), limit=1).woken == 1
        assert emit(store, event(is_named=True), limit=1) == _NOBODY

    # -- past -------------------------------------------------------------------------

    def test_events_are_found_by_their_time(self, store: Store) -> None:
        sent = [event(f"event-{at}", at=at) for at in (20, 21.5, 23)]
        for each in reversed(sent):
            emit(store, each)

        assert store.past("event", "by-name", 20, 23) == sent[:2]
        assert store.past("event", "by-name", 20.001, 23.001) == sent[1:]
        assert store.past("event", "other", 0, 99) == []

    def test_an_event_is_found_without_who_has_named_it(self, store: Store) -> None:
        emit(store, event(is_named=True))

        assert store.past("event", "by-name", 0, 99) == [event()]

    def test_an_event_that_comes_again_is_kept_once_as_of_the_last_time(self, store: Store) -> None:
        emit(store, event(at=20))
        emit(store, event(at=22))

        assert [kept.at for kept in store.past("event", "by-name", 0, 99)] == [22]

    def test_events_are_kept_for_so_long(self, store: Store) -> None:
        for at in (10, 20, 30):
            emit(store, event(f"event-{at}", at=at), now=at, keep=10)

        assert [kept.at for kept in store.past("event", "by-name", 0, 99)] == [20, 30]

    def test_an_event_may_have_any_memo(self, store: Store) -> None:
        sent = SentEvent("event", "event", 20.25, bytes(range(256)))
        emit(store, sent)

        assert store.past("event", "by-name", 0, 99) == [sent]
        assert park(store, wait=wait_for()).memo == sent.memo

    # -- arrive -----------------------------------------------------------------------

    def test_a_run_whose_wait_is_over_is_leased(self, store: Store) -> None:
        park(store, due=15, wait=wait_for())

        assert store.arrive(_RUN, "wait", 12, 22) == Taken(_RUN, "token", b"body", 1)
        assert store.recall(_RUN, 10, _KEEP).memos == {}
        assert emit(store, event()) == _NOBODY
        assert store.arrive(_RUN, "wait", 21.9, 99) is None
        assert [taken.tries for taken in store.take(22, 99, 10)] == [2]

    def test_nothing_arrives_where_the_run_is_not_parked(self, store: Store) -> None:
        assert store.arrive(_RUN, "wait", 12, 22) is None
        park(store)

        assert store.arrive(_RUN, "other", 12, 22) is None

    def test_a_run_whose_wait_ends_while_a_relay_looks_is_not_postponed(self, store: Store) -> None:
        park(store, due=15)
        store.take(15, 45, 10)
        store.arrive(_RUN, "wait", 16, 26)
        store.postpone(_RUN, "token", 75)

        assert store.next_due() == 16
        store.take(16, 46, 10)
        store.postpone(_RUN, "token", 75)
        assert store.next_due() == 75

    def test_a_run_may_have_any_id_and_wait_at_any_step(self, store: Store) -> None:
        id, step = RunId("{a}:run ü'\n%s"), "b\n}:outbox '%d'"
        park(store, id, step=step, wait=wait_for())

        assert [taken.id for taken in emit(store, event(), now=1, until=2).taken] == [id]
        assert store.arrive(id, step, 3, 4) == Taken(id, "token", b"body", 2)
        assert store.cancel(id, _KEEP, _UNTIL) == b"body"


def park(
    store: Store,
    id: str = "run",
    *,
    turn: int = 0,
    step: str = "wait",
    note: bytes = b"note",
    token: str = "token",
    due: float = 500,
    now: float = 10,
    wait: Subscription | None = None,
    early: Sequence[SentEvent] | None = (),
) -> Arrival:
    """Park a run, which waits for something or for its time."""
    parking = Parking(turn, step, note, token, b"body", due, wait, early)
    return store.park(RunId(id), parking, now, _KEEP)


def wait_for(
    digest: str = "by-name", shape: str = NO_SHAPE, *, name: str = "event", since: float = 0
) -> Subscription:
    return Subscription(name, shape, digest, since)


def learn(store: Store, wait: Subscription) -> None:
    """Let the store know the shape of a wait."""
    park(store, wait.shape, wait=wait)
    store.settle(RunId(wait.shape), None)


def event(id: str = "event", *, at: float = 20, is_named: bool = False) -> SentEvent:
    """An event whose memo is its id."""
    return SentEvent(id, "event", at, id.encode(), is_named)


def emit(
    store: Store, event: SentEvent, digests: Mapping[str, str] = _BY_NAME, **options: Any
) -> Emitted:
    asked = {"now": 20.0, "until": 30.0, "limit": 10, "keep": _KEEP, **options}
    return store.emit(event, digests, **asked)
