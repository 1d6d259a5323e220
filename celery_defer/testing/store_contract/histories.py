"""Tests of the histories of runs."""

from __future__ import annotations

from typing import Any

from celery_defer.ids import RunId
from celery_defer.store import Fact, History, Lists, Place, RunState, Store
from celery_defer.testing.store_contract.shorthand import KEEP, RUN, park, stage

_TASK = "shop.receipt"


def fact(state: RunState, id: str = RUN, task: str = _TASK, **fields: Any) -> Fact:
    return Fact(RunId(id), task, state, KEEP, **{"about": b"about", **fields})


def history(store: Store, id: str = RUN) -> History | None:
    [history] = store.histories([RunId(id)])
    return history


def state(store: Store, id: str = RUN) -> RunState | None:
    found = history(store, id)
    return found.state if found else None


def listed(store: Store, *states: RunState, **options: Any) -> list[str]:
    """Return the ids of the runs in lists, the newest first."""
    lists = Lists(tuple(store.tasks()), states)
    return [place.id for place in store.listed(lists, **{"limit": 99, **options})]


class HistoryContract:
    """Tests of facts: how they are written, and how histories are read and listed."""

    def test_a_run_without_facts_has_no_history(self, store: Store) -> None:
        assert store.histories([RUN]) == [None]
        assert store.histories([]) == []
        assert store.tasks() == []

    def test_a_history_says_what_the_run_is_and_when_it_did_what(self, store: Store) -> None:
        store.note([fact(RunState.PUBLISHED, deferred=3.0)])
        store.note([fact(RunState.RUNNING, attempt=1, started=0.0)])
        store.note([fact(RunState.SUCCEEDED, attempt=1, told=b"told", started=9.0)])

        found = history(store)
        assert found is not None
        assert (found.id, found.state, found.attempts) == (RUN, RunState.SUCCEEDED, 1)
        assert (found.about, found.told) == (b"about", b"told")
        assert 0 < found.deferred < found.published <= found.started <= found.finished

    def test_the_first_facts_say_what_the_run_is_and_when_it_started(self, store: Store) -> None:
        store.note([fact(RunState.RUNNING, about=b"first", attempt=1, started=5.0)])
        before = history(store)
        store.note([fact(RunState.RUNNING, about=b"second", attempt=2, started=0.0)])

        found = history(store)
        assert found is not None
        assert before is not None
        assert (found.about, found.attempts, found.started) == (b"first", 2, before.started)

    def test_a_fact_that_does_not_say_what_the_run_is_begins_no_history(self, store: Store) -> None:
        store.note([fact(RunState.FAILED, about=b"")])

        assert history(store) is None

    def test_a_run_that_has_begun_is_not_published_again(self, store: Store) -> None:
        for later in (RunState.BUFFERED, RunState.PUBLISHED, RunState.UNKNOWN):
            store.note([fact(RunState.RUNNING), fact(later)])

            assert state(store) is RunState.RUNNING

    def test_a_call_at_once_completes_the_history_that_its_run_has_begun(
        self, store: Store
    ) -> None:
        for end in (RunState.RUNNING, RunState.SUCCEEDED):
            store.note([fact(end, about=b"task", told=b"told", attempt=1, started=5.0)])
            store.note([fact(RunState.PUBLISHED, about=b"task, payload", deferred=9.0)])
            store.note([fact(RunState.PUBLISHED, about=b"another", deferred=0.0)])

            found = history(store)
            assert found is not None
            assert (found.state, found.about, found.told) == (end, b"task, payload", b"told")
            assert 3 < found.started - found.published < 5

    def test_a_success_stays(self, store: Store) -> None:
        store.note([fact(RunState.SUCCEEDED)])
        for later in (RunState.RUNNING, RunState.FAILED, RunState.ABORTED, RunState.UNKNOWN):
            store.note([fact(later)])

        assert state(store) is RunState.SUCCEEDED

    def test_a_run_that_failed_may_run_again(self, store: Store) -> None:
        store.note([fact(RunState.FAILED), fact(RunState.RUNNING)])

        found = history(store)
        assert found is not None
        assert (found.state, found.finished) == (RunState.RUNNING, 0.0)

    def test_a_run_that_is_restarted_counts_anew(self, store: Store) -> None:
        store.note([fact(RunState.PUBLISHED), fact(RunState.RUNNING, attempt=3, started=5.0)])
        store.note([fact(RunState.FAILED, attempt=3), fact(RunState.WAITING, attempt=0)])
        waiting = history(store)
        store.note([fact(RunState.RUNNING, attempt=1, started=1.0)])
        running = history(store)

        assert waiting is not None
        assert running is not None
        assert (waiting.attempts, waiting.started) == (0, 0.0)
        assert (running.attempts, running.started > 0) == (1, True)

    def test_a_run_that_is_restarted_is_published_anew(self, store: Store) -> None:
        store.note([fact(RunState.BUFFERED), fact(RunState.FAILED)])
        store.note([fact(RunState.WAITING, attempt=0)])
        waiting = history(store)
        store.note([fact(RunState.RUNNING, attempt=1)])
        running = history(store)

        assert waiting is not None
        assert running is not None
        assert waiting.published > 0
        assert running.published == waiting.published

    def test_a_call_that_was_never_made_is_forgotten(self, store: Store) -> None:
        store.note([fact(RunState.BUFFERED), fact(RunState.UNKNOWN)])

        assert history(store) is None
        assert listed(store, RunState.BUFFERED) == []

    def test_what_blocks_with_one_id_have_done_is_told_line_by_line(self, store: Store) -> None:
        for told in (b"one", b"two"):
            store.note([fact(RunState.SUCCEEDED, told=told)])

        found = history(store)
        assert found is not None
        assert found.told == b"one\ntwo"

    def test_a_run_is_listed_in_the_state_that_it_is_in(self, store: Store) -> None:
        for each in (RunState.BUFFERED, RunState.RUNNING, RunState.WAITING, RunState.FAILED):
            store.note([fact(each)])

            states = [RunState.BUFFERED, RunState.RUNNING, RunState.WAITING, RunState.FAILED]
            assert [one for one in states if listed(store, one)] == [each]
            assert store.counts([_TASK], states) == [int(one is each) for one in states]

    def test_the_newest_run_is_listed_first(self, store: Store) -> None:
        for number in range(3):
            store.note([fact(RunState.FAILED, id=f"run-{number}", task=f"task-{number % 2}")])

        assert listed(store) == ["run-2", "run-1", "run-0"]
        assert listed(store, RunState.FAILED) == ["run-2", "run-1", "run-0"]
        assert listed(store, limit=1) == ["run-2"]
        assert sorted(store.tasks()) == ["task-0", "task-1"]

    def test_a_list_goes_on_after_a_place(self, store: Store) -> None:
        store.note([fact(RunState.FAILED, id=f"run-{n}", task=f"task-{n % 2}") for n in range(9)])

        for states in ((), (RunState.FAILED,)):
            lists, seen = Lists(tuple(store.tasks()), states), list[str]()
            place: Place | None = None
            while page := store.listed(lists, before=place, limit=2):
                seen += [each.id for each in page]
                place = page[-1]
            assert sorted(seen) == [f"run-{n}" for n in range(9)]

    def test_a_list_goes_back_to_a_time(self, store: Store) -> None:
        store.note([fact(RunState.FAILED)])
        [place] = store.listed(Lists((_TASK,)), limit=9)

        assert listed(store, since=place.at - 5) == [RUN]
        assert listed(store, since=place.at + 5) == []
        assert listed(store, RunState.FAILED, since=place.at + 5) == []

    def test_a_run_is_listed_under_its_tags(self, store: Store) -> None:
        store.note([fact(RunState.FAILED, tags=("order=7", "user=ä b"))])
        store.note([fact(RunState.FAILED, id="other", tags=("order=8",))])

        for tag in ("order=7", "user=ä b"):
            assert [place.id for place in store.listed(Lists(tag=tag), limit=9)] == [RUN]
        assert store.listed(Lists(tag="order=9"), limit=9) == []

    def test_facts_are_written_with_what_makes_them_so(self, store: Store) -> None:
        parking = [fact(RunState.WAITING)]
        store.stage(RUN, "token", b"body", 9, KEEP, facts=[fact(RunState.BUFFERED)])
        seen = [state(store)]
        store.postpone(RUN, "token", 9, facts=[fact(RunState.BUFFERED, attempt=0)])
        store.settle(RUN, "token", facts=[fact(RunState.PUBLISHED)])
        seen.append(state(store))
        store.claim(RUN, "owner", KEEP, facts=[fact(RunState.RUNNING)])
        seen.append(state(store))
        park(store, facts=parking)
        seen.append(state(store))
        store.resume(RUN, 1, "owner", KEEP, facts=[fact(RunState.RUNNING)])
        seen.append(state(store))
        stage(store, RUN, 9)
        store.quarantine(RUN, "token", "bad", KEEP, facts=[fact(RunState.QUARANTINED)])
        seen.append(state(store))

        assert seen == [
            RunState.BUFFERED, RunState.PUBLISHED, RunState.RUNNING, RunState.WAITING,
            RunState.RUNNING, RunState.QUARANTINED,
        ]  # fmt: skip

    def test_facts_of_a_retry_are_written_and_not_of_another_message(self, store: Store) -> None:
        first, facts = [fact(RunState.RUNNING, attempt=1)], [fact(RunState.RUNNING, attempt=2)]
        store.claim(RUN, "task.one.a", KEEP, facts=first)
        store.claim(RUN, "task.one.b", KEEP, facts=facts)
        store.claim(RUN, "task.two.a", KEEP, facts=facts, is_retry=True)
        found = [history(store)]
        store.claim(RUN, "task.one.c", KEEP, facts=facts, is_retry=True)
        found.append(history(store))
        park(store)
        store.resume(RUN, 1, "task.one.d", KEEP)
        facts = [fact(RunState.RUNNING, attempt=3)]
        store.resume(RUN, 1, "task.two.e", KEEP, facts=facts, is_retry=True)
        store.resume(RUN, 1, "task.one.f", KEEP, facts=facts)
        found.append(history(store))
        store.resume(RUN, 1, "task.one.g", KEEP, facts=facts, is_retry=True)
        found.append(history(store))

        assert [each.attempts for each in found if each] == [1, 2, 2, 3]

    def test_facts_are_not_written_if_nothing_is_done(self, store: Store) -> None:
        store.stage(RUN, "token", b"body", 9, KEEP)
        facts = [fact(RunState.RUNNING)]
        store.stage(RUN, "other", b"body", 9, KEEP, replaces=False, facts=facts)
        store.settle(RUN, "other", facts=facts)
        store.postpone(RUN, "other", 9, facts=facts)
        store.quarantine(RUN, "other", "bad", KEEP, facts=facts)
        store.claim(RUN, "task.first", KEEP)
        store.claim(RUN, "task.other", KEEP, facts=facts)
        park(store, turn=5, facts=facts)
        store.resume(RUN, 5, "other", KEEP, facts=facts)

        assert history(store) is None
