"""Tests of the runs that take part in experiments, and of the scores that count in them."""

from __future__ import annotations

from typing import Any

import pytest

from celery_defer.ids import RunId
from celery_defer.store import Carried, Fact, RunState, Store
from celery_defer.testing.store_contract.scores import (
    CHILD,
    TASK,
    P,
    assign,
    counted,
    orphans,
    row,
    write,
)
from celery_defer.testing.store_contract.shorthand import KEEP

CARRIED: Carried = {"exp": ("a", P)}


def carrier(state: RunState, run: str = P, **fields: Any) -> Fact:
    """A fact of a run that carries the experiment."""
    given = {"about": b"about", "experiments": (("exp", "a", P),), **fields}
    return Fact(RunId(run), TASK, state, KEEP, **given)


class ExperimentContract:
    """Tests of experiments: which variant a run takes, which scores count, and who is open."""

    def test_the_first_assignment_stays(self, store: Store) -> None:
        assert assign(store) == "a"
        assert assign(store, "b") == "a"
        assert assign(store, "b", run="other") == "b"
        assert assign(store, "b", experiment="second") == "b"

        assert sorted(store.assigned("exp")) == [(P, "a"), ("other", "b")]
        assert list(store.assigned("second")) == [(P, "b")]
        assert list(store.assigned("unknown")) == []
        assert store.experiments() == ["second", "exp"]
        assign(store, run="newest")
        assert store.experiments() == ["exp", "second"]

    def test_assignments_are_read_since_a_time(self, store: Store) -> None:
        assign(store)
        write(store, row(1, run=P))
        [now] = store.scored(None, limit=1)

        assert list(store.assigned("exp", since=now.at - 5)) == [(P, "a")]
        assert list(store.assigned("exp", since=now.at + 5)) == []

    def test_the_last_value_of_each_target_counts(self, store: Store) -> None:
        assign(store)
        write(store, row(1, run=P), row(2, run=P), row(3, run=P, step="draft"))
        write(store, row(True, run=P, name="bought"))
        write(store, row(4, run=CHILD), carried=CARRIED)

        assert counted(store) == [
            ("bought", P, True), ("tone", P, 2), ("tone", P, 3), ("tone", P, 4),
        ]  # fmt: skip
        assert set(store.scored_in("exp")) == {(P, P), (P, CHILD)}
        assert next(value for name, _, value in counted(store) if name == "bought") is True
        assert counted(store, "unknown") == []

    def test_what_a_run_has_been_scored_before_it_is_assigned_counts(self, store: Store) -> None:
        write(store, row(1, run=P), row(2, run=P), row(3, run=P, step="draft"), keys="abc")
        write(store, row(True, run=P, name="bought"))
        assign(store)
        assign(store, experiment="second")

        expected = [("bought", P, True), ("tone", P, 2), ("tone", P, 3)]
        assert counted(store) == counted(store, "second") == expected
        assert set(store.scored_in("exp")) == {(P, P)}
        write(store, row(5, run=P))
        assert counted(store) == [("bought", P, True), ("tone", P, 3), ("tone", P, 5)]

    def test_a_second_assignment_counts_nothing(self, store: Store) -> None:
        assign(store)
        write(store, row(1, run=P))
        assert assign(store, "b") == "a"

        assert counted(store) == [("tone", P, 1)]

    def test_a_score_that_is_left_out_does_not_count_anew(self, store: Store) -> None:
        assign(store)
        write(store, row(1, run=P), keys="a")
        write(store, row(2, run=P), keys="b")
        write(store, row(3, run=P), keys="a")

        assert counted(store) == [("tone", P, 2)]

    def test_a_score_counts_in_each_experiment_that_is_carried(self, store: Store) -> None:
        assign(store)
        assign(store, run=CHILD, experiment="inner")
        write(store, row(1, run=CHILD), carried=CARRIED)

        assert counted(store) == [("tone", P, 1)]
        assert counted(store, "inner") == [("tone", CHILD, 1)]

    @pytest.mark.parametrize("state", [RunState.BUFFERED, RunState.SUCCEEDED])
    def test_a_score_counts_if_a_fact_has_said_what_is_carried(
        self, store: Store, state: RunState
    ) -> None:
        assign(store)
        store.note([carrier(state, CHILD)])
        write(store, row(1, run=CHILD), is_known=False)

        assert counted(store) == [("tone", P, 1)]
        assert orphans(store) == []

    def test_an_assigned_run_is_open_until_it_and_all_that_carry_it_have_ended(
        self, store: Store
    ) -> None:
        assign(store)
        seen = [store.open_runs("exp")]
        for fact in [
            carrier(RunState.RUNNING), carrier(RunState.SUCCEEDED),
            carrier(RunState.BUFFERED, CHILD), carrier(RunState.PUBLISHED, CHILD),
            carrier(RunState.WAITING, CHILD), carrier(RunState.FAILED, CHILD),
            carrier(RunState.RUNNING, CHILD), carrier(RunState.SUCCEEDED, CHILD),
        ]:  # fmt: skip
            store.note([fact])
            seen.append(store.open_runs("exp"))

        is_open = [True, True, False, True, True, True, False, True, False]
        assert seen == [{P} if each else set() for each in is_open]

    @pytest.mark.parametrize(
        "state", [RunState.FAILED, RunState.ABORTED, RunState.QUARANTINED, RunState.UNKNOWN]
    )
    def test_an_end_need_not_say_what_is_carried(self, store: Store, state: RunState) -> None:
        store.note([carrier(RunState.BUFFERED, CHILD)])
        assert store.open_runs("exp") == {P}

        store.note([carrier(state, CHILD, about=b"", experiments=())])
        assert store.open_runs("exp") == set()
        assert store.unsampled("exp") == set()

    @pytest.mark.parametrize(
        ("before", "state", "attempt"),
        [
            (None, RunState.FAILED, 1), (None, RunState.SUCCEEDED, 2),
            (RunState.WAITING, RunState.SUCCEEDED, 1), (RunState.RUNNING, RunState.FAILED, 1),
        ],
    )  # fmt: skip
    def test_an_attempt_that_does_not_come_to_the_experiment_ends_it(
        self, store: Store, before: RunState | None, state: RunState, attempt: int
    ) -> None:
        assign(store)
        store.note([carrier(before)] if before else [])
        assert store.open_runs("exp") == {P}

        store.note([carrier(state, experiments=(), attempt=attempt)])
        assert store.open_runs("exp") == set()
        assert store.unsampled("exp") == set()

    def test_a_run_that_is_restarted_is_open_again(self, store: Store) -> None:
        store.note([carrier(RunState.RUNNING, CHILD), carrier(RunState.FAILED, CHILD)])
        assert store.open_runs("exp") == set()

        store.note([carrier(RunState.WAITING, CHILD, about=b"", experiments=(), attempt=0)])
        assert store.open_runs("exp") == {P}

    def test_an_assigned_run_without_a_history_ends_too(self, store: Store) -> None:
        assign(store)
        store.note([carrier(RunState.SUCCEEDED, about=b"", experiments=())])

        assert store.open_runs("exp") == set()

    def test_a_late_fact_does_not_open_a_run_again(self, store: Store) -> None:
        store.note([carrier(RunState.SUCCEEDED, CHILD)])
        for state in (RunState.PUBLISHED, RunState.RUNNING):
            store.note([carrier(state, CHILD)])

        assert store.open_runs("exp") == set()

    def test_a_run_is_not_open_after_its_time(self, store: Store) -> None:
        store.assign(P, "exp", "a", KEEP, open_for=0.0)
        assert store.open_runs("exp") == set()

    def test_a_run_whose_scorer_was_left_out_is_not_sampled(self, store: Store) -> None:
        assign(store)
        store.note([carrier(RunState.SKIPPED, CHILD)])

        assert store.unsampled("exp") == {P}
        assert store.open_runs("exp") == {P}
        assert store.unsampled("other") == set()
