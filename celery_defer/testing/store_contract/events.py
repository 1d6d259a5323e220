"""What stays of an event, as tests."""

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
    """Tests of which events are kept, for whom, and by which values."""

    # -- emit -----------------------------------------------------------------------

    def test_an_event_that_a_run_has_not_received_is_there_for_its_next_wait(
        self, store: Store
    ) -> None:
        park(store, wait=wait_for())
        emit(store, event("first", at=20))
        emit(store, event("second", at=21))

        assert park(store, turn=1, step="next", wait=wait_for()).memo == b"second"

    def test_an_event_after_the_timeout_is_there_for_the_next_wait(self, store: Store) -> None:
        park(store, due=15, wait=wait_for())
        store.take(15, 45, 10)
        store.remember(RUN, {"wait": b"nothing"}, KEEP)

        assert emit(store, event("late")) == NOBODY
        assert park(store, turn=1, step="next", wait=wait_for()).memo == b"late"

    def test_an_event_that_lacks_a_value_wakes_nobody_who_compares_it(self, store: Store) -> None:
        learn(store, wait_for("by-user", SHAPE))
        park(store, wait=wait_for("by-user", SHAPE))

        assert emit(store, event(), {**BY_NAME, SHAPE: ""}) == NOBODY
        assert store.past("event", "", 0, 99) == []

    def test_a_sender_that_knows_other_shapes_is_told_them(self, store: Store) -> None:
        park(store, "one", now=10, wait=wait_for("one", '["b"]'))
        park(store, "two", now=11, wait=wait_for("two", '["a"]'))
        told = Emitted(unknown_shapes=['["b"]', '["a"]'])

        assert emit(store, event()) == told
        assert emit(store, event(), {**BY_NAME, '["b"]': "one"}) == told
        assert emit(store, event(), {**BY_NAME, '["b"]': "one", '["c"]': "two"}) == told
        assert store.past("event", "by-name", 0, 99) == []
        assert emit(store, event(), {**BY_NAME, '["b"]': "one", '["a"]': "two"}).woken == 2

    def test_shapes_are_known_by_the_name_of_the_event(self, store: Store) -> None:
        park(store, wait=wait_for("by-user", SHAPE, name="other"))

        assert emit(store, event()) == NOBODY

    def test_an_event_that_goes_on_is_kept_once(self, store: Store) -> None:
        for id in ("one", "two"):
            park(store, id, wait=wait_for())
        emit(store, event(), limit=1)
        emit(store, event(at=25), limit=1)

        assert [kept.at for kept in store.past("event", "by-name", 0, 99)] == [20]

    def test_a_named_event_counts_once(self, store: Store) -> None:
        park(store, wait=wait_for())
        emit(store, event(is_named=True))
        park(store, "later", wait=wait_for(since=30))

        assert emit(store, event(at=40, is_named=True)) == NOBODY
        assert [kept.at for kept in store.past("event", "by-name", 0, 99)] == [20]

    def test_a_named_event_goes_on_for_a_sender_that_came_back(self, store: Store) -> None:
        for id in ("one", "two"):
            park(store, id, wait=wait_for())
        emit(store, event(is_named=True), limit=1)

        assert emit(store, event(is_named=True), limit=1).woken == 1
        assert emit(store, event(is_named=True), limit=1) == NOBODY

    # -- past -----------------------------------------------------------------------

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
