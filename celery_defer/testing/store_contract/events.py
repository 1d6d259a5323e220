"""Tests of how long events are kept, and of which runs receive them later."""

from __future__ import annotations

from celery_defer.store import NO_SHAPE, Emitted, SentEvent, Store
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
    past,
    wait_for,
)


class EventContract:
    """Tests of which events are kept, and by which values."""

    # -- emit -----------------------------------------------------------------------

    def test_an_event_that_a_run_has_not_received_ends_its_next_wait(self, store: Store) -> None:
        park(store, wait=wait_for())
        emit(store, event("first", at=20))
        emit(store, event("second", at=21))

        assert park(store, turn=1, step="next", wait=wait_for()).memo == b"second"

    def test_an_event_after_the_timeout_ends_the_next_wait(self, store: Store) -> None:
        park(store, due=15, wait=wait_for())
        store.take(15, 45, 10)
        store.remember(RUN, {"wait": b"nothing"}, KEEP)

        assert emit(store, event("late")) == NOBODY
        assert park(store, turn=1, step="next", wait=wait_for()).memo == b"late"

    def test_an_event_that_lacks_a_value_wakes_no_run_that_compares_it(self, store: Store) -> None:
        learn(store, wait_for("by-user", SHAPE))
        park(store, wait=wait_for("by-user", SHAPE))

        assert emit(store, event(), {**BY_NAME, SHAPE: ""}) == NOBODY
        assert past(store, "") == []

    def test_a_sender_that_lacks_a_shape_gets_all_of_them(self, store: Store) -> None:
        park(store, "one", now=10, wait=wait_for("one", '["b"]'))
        park(store, "two", now=11, wait=wait_for("two", '["a"]'))
        others = Emitted(unknown_shapes=['["b"]', '["a"]'])

        assert emit(store, event()) == others
        assert emit(store, event(), {**BY_NAME, '["b"]': "one"}) == others
        assert emit(store, event(), {**BY_NAME, '["b"]': "one", '["c"]': "two"}) == others
        assert past(store) == []
        assert emit(store, event(), {**BY_NAME, '["b"]': "one", '["a"]': "two"}).woken == 2

    def test_each_event_name_has_shapes_of_its_own(self, store: Store) -> None:
        park(store, wait=wait_for("by-user", SHAPE, name="other"))

        assert emit(store, event()) == NOBODY

    def test_an_event_with_several_batches_is_kept_once(self, store: Store) -> None:
        for id in ("one", "two"):
            park(store, id, wait=wait_for())
        emit(store, event(), limit=1)
        emit(store, event(at=25), limit=1)

        assert [event.at for event in past(store)] == [20]

    def test_a_named_event_counts_once(self, store: Store) -> None:
        park(store, wait=wait_for())
        emit(store, event(is_named=True))
        park(store, "later", wait=wait_for(since=30))

        assert emit(store, event(at=40, is_named=True)) == Emitted(is_repeat=True)
        assert [event.at for event in past(store)] == [20]

    def test_a_named_event_is_fanned_out_further_when_it_is_sent_again(self, store: Store) -> None:
        for id in ("one", "two"):
            park(store, id, wait=wait_for())
        emit(store, event(is_named=True), limit=1)

        again = emit(store, event(is_named=True), limit=1)
        assert (again.woken, again.is_repeat) == (1, True)
        assert emit(store, event(is_named=True), limit=1) == Emitted(is_repeat=True)

    # -- past -----------------------------------------------------------------------

    def test_past_returns_events_by_their_time(self, store: Store) -> None:
        sent = [event(f"event-{at}", at=at) for at in (20, 21.5, 23)]
        for each in sent:
            emit(store, each)

        assert past(store, since=20, before=23) == sent[:2]
        assert past(store, since=20.001, before=23.001) == sent[1:]
        assert past(store, "other") == []

    def test_past_does_not_say_whether_an_event_was_named(self, store: Store) -> None:
        emit(store, event(is_named=True))

        assert past(store) == [event()]

    def test_an_event_that_is_sent_again_is_kept_once_at_its_last_time(self, store: Store) -> None:
        emit(store, event(at=20))
        emit(store, event(at=22))

        assert [event.at for event in past(store)] == [22]

    def test_events_are_kept_for_their_retention(self, store: Store) -> None:
        for at in (10, 20, 30):
            emit(store, event(f"event-{at}", at=at), now=at, keep=10)

        assert [event.at for event in past(store)] == [20, 30]

    def test_an_event_that_is_kept_for_no_time_wakes_those_who_wait_already(
        self, store: Store
    ) -> None:
        park(store, wait=wait_for())

        assert emit(store, event(), keep=0).woken == 1
        assert past(store) == []

    def test_of_very_many_events_the_newest_are_kept(self, store: Store) -> None:
        for at in (20, 21, 22, 23):
            emit(store, event(f"event-{at}", at=at), most=2)

        assert [event.at for event in past(store)] == [22, 23]

    def test_events_stay_in_the_order_in_which_they_came(self, store: Store) -> None:
        for id, at in (("b", 20.0), ("c", 20.0), ("a", 19.0)):
            emit(store, event(id, at=at), now=20)

        assert [event.id for event in past(store)] == ["b", "c", "a"]

    def test_a_sender_may_be_ahead_of_the_store_for_some_seconds(self, store: Store) -> None:
        for at in (19, 22, 3_600):
            emit(store, event(f"event-{at}", at=at), {NO_SHAPE: f"digest-{at}"}, now=20)

        kept = [past(store, f"digest-{at}")[0].at for at in (19, 22, 3_600)]
        assert kept == [20, 22, 25]

    def test_past_is_read_in_pages(self, store: Store) -> None:
        sent = [event(f"event-{number}", at=20 + number) for number in range(5)]
        for each in sent:
            emit(store, each)

        pages = [store.past("event", "by-name", 20, 99, skip=skip, limit=2) for skip in (0, 2, 4)]

        assert pages == [sent[:2], sent[2:4], sent[4:]]

    def test_an_event_may_have_any_memo(self, store: Store) -> None:
        sent = SentEvent("event", "event", 20.25, bytes(range(256)))
        emit(store, sent)

        assert past(store) == [sent]
        assert park(store, wait=wait_for()).memo == sent.memo
