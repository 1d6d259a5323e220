"""Tests of how long events are kept, and of which runs receive them later."""

from __future__ import annotations

from celery_defer.store import Emitted, SentEvent, Store
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
        assert store.past("event", "", 0, 99) == []

    def test_a_sender_that_lacks_a_shape_gets_all_of_them(self, store: Store) -> None:
        park(store, "one", now=10, wait=wait_for("one", '["b"]'))
        park(store, "two", now=11, wait=wait_for("two", '["a"]'))
        others = Emitted(unknown_shapes=['["b"]', '["a"]'])

        assert emit(store, event()) == others
        assert emit(store, event(), {**BY_NAME, '["b"]': "one"}) == others
        assert emit(store, event(), {**BY_NAME, '["b"]': "one", '["c"]': "two"}) == others
        assert store.past("event", "by-name", 0, 99) == []
        assert emit(store, event(), {**BY_NAME, '["b"]': "one", '["a"]': "two"}).woken == 2

    def test_each_event_name_has_shapes_of_its_own(self, store: Store) -> None:
        park(store, wait=wait_for("by-user", SHAPE, name="other"))

        assert emit(store, event()) == NOBODY

    def test_an_event_with_several_batches_is_kept_once(self, store: Store) -> None:
        for id in ("one", "two"):
            park(store, id, wait=wait_for())
        emit(store, event(), limit=1)
        emit(store, event(at=25), limit=1)

        assert [event.at for event in store.past("event", "by-name", 0, 99)] == [20]

    def test_a_named_event_counts_once(self, store: Store) -> None:
        park(store, wait=wait_for())
        emit(store, event(is_named=True))
        park(store, "later", wait=wait_for(since=30))

        assert emit(store, event(at=40, is_named=True)) == NOBODY
        assert [event.at for event in store.past("event", "by-name", 0, 99)] == [20]

    def test_a_named_event_is_fanned_out_further_when_it_is_sent_again(self, store: Store) -> None:
        for id in ("one", "two"):
            park(store, id, wait=wait_for())
        emit(store, event(is_named=True), limit=1)

        assert emit(store, event(is_named=True), limit=1).woken == 1
        assert emit(store, event(is_named=True), limit=1) == NOBODY

    # -- past -----------------------------------------------------------------------

    def test_past_returns_events_by_their_time(self, store: Store) -> None:
        sent = [event(f"event-{at}", at=at) for at in (20, 21.5, 23)]
        for each in reversed(sent):
            emit(store, each)

        assert store.past("event", "by-name", 20, 23) == sent[:2]
        assert store.past("event", "by-name", 20.001, 23.001) == sent[1:]
        assert store.past("event", "other", 0, 99) == []

    def test_past_does_not_say_whether_an_event_was_named(self, store: Store) -> None:
        emit(store, event(is_named=True))

        assert store.past("event", "by-name", 0, 99) == [event()]

    def test_an_event_that_is_sent_again_is_kept_once_at_its_last_time(self, store: Store) -> None:
        emit(store, event(at=20))
        emit(store, event(at=22))

        assert [event.at for event in store.past("event", "by-name", 0, 99)] == [22]

    def test_events_are_kept_for_their_retention(self, store: Store) -> None:
        for at in (10, 20, 30):
            emit(store, event(f"event-{at}", at=at), now=at, keep=10)

        assert [event.at for event in store.past("event", "by-name", 0, 99)] == [20, 30]

    def test_an_event_may_have_any_memo(self, store: Store) -> None:
        sent = SentEvent("event", "event", 20.25, bytes(range(256)))
        emit(store, sent)

        assert store.past("event", "by-name", 0, 99) == [sent]
        assert park(store, wait=wait_for()).memo == sent.memo
