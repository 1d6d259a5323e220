"""Tests of scores."""

from __future__ import annotations

from typing import Any

import pytest

from celery_defer.ids import RunId
from celery_defer.store import Fact, Place, RunState, ScoreRow, Store
from celery_defer.testing.store_contract.shorthand import KEEP, RUN

TASK = "shop.reply"
P = RunId("assigned")
CHILD = RunId("child")
#: Names that a store may take for something of its own.
ODD = ["a b", "ä (B)!", "%s{}:*", "a\\b", 'say "yes"', "0", "é" * 64, "x" * 128]


def row(value: bool | float = 1.0, name: str = "tone", run: str = RUN, **fields: Any) -> ScoreRow:
    return ScoreRow(RunId(run), name, value, **fields)


def write(store: Store, *rows: ScoreRow, keys: str = "", task: str = TASK, **options: Any) -> str:
    """Write scores, with a letter of *keys* for each, or without; return a 1 for each new one."""
    each = list(keys) or [""] * len(rows)
    new = store.score(rows, each, task, KEEP, **{"is_known": True, **options})
    return "".join(str(int(one)) for one in new)


def assign(store: Store, variant: str = "a", run: str = P, experiment: str = "exp") -> str:
    return store.assign(RunId(run), experiment, variant, KEEP, open_for=KEEP)


def says(store: Store, run: str = RUN) -> list[tuple[object, ...]]:
    """Return what the scores of a run say, in the order they were written."""
    [rows] = store.scores_of([RunId(run)])
    return [(each.name, each.value) for each in rows]


def scored(store: Store, task: str | None = TASK, **options: Any) -> list[str]:
    return [place.id for place in store.scored(task, **{"limit": 99, **options})]


def orphans(store: Store) -> list[str]:
    return [place.id for place in store.orphans(limit=99)]


def counted(store: Store, experiment: str = "exp") -> list[tuple[object, ...]]:
    """Return the values that count in an experiment."""
    return sorted(store.values(experiment), key=str)


class ScoreContract:
    """Tests of scores: how they are written once, read and listed."""

    def test_a_run_without_scores_has_none(self, store: Store) -> None:
        assert store.scores_of([RUN, P]) == [[], []]
        assert store.scores_of([]) == []
        assert (scored(store), orphans(store), store.experiments()) == ([], [], [])

    def test_a_score_is_read_as_it_was_written(self, store: Store) -> None:
        whole = row(0.1, step="draft", comment="ä\nb'", source="judge-2", by=CHILD)
        assert write(store, whole) == "1"
        write(store, row(True), row(7, name="count"), row(1e300, name="big"))

        [[first, flag, count, big]] = store.scores_of([RUN])
        assert (first.name, first.step, first.value) == ("tone", "draft", 0.1)
        assert (first.comment, first.source, first.by) == ("ä\nb'", "judge-2", CHILD)
        assert 0 < first.at <= big.at
        assert flag.value is True
        assert (count.value, type(count.value), big.value) == (7, int, 1e300)

    def test_scores_of_several_runs_are_read_at_once(self, store: Store) -> None:
        write(store, row(1))
        write(store, row(2, run=P))

        found = store.scores_of([P, CHILD, RUN])
        assert [[each.value for each in rows] for rows in found] == [[2], [], [1]]

    @pytest.mark.parametrize("name", ODD)
    def test_a_name_may_have_any_letters(self, store: Store, name: str) -> None:
        assign(store, name, experiment=name)
        write(store, row(1, name=name, run=P, step=name, comment=name, source=name), task=name)

        [[found]] = store.scores_of([P])
        assert [found.name, found.step, found.comment, found.source] == [name] * 4
        assert scored(store, name) == [P]
        assert store.experiments() == [name]
        assert list(store.assigned(name)) == [(P, name)]
        assert counted(store, name) == [(name, P, 1)]

    def test_what_has_a_key_is_written_once(self, store: Store) -> None:
        assert write(store, row(1), row(2), keys="ab") == "11"
        assert write(store, row(3), row(4), keys="bc") == "01"

        assert says(store) == [("tone", 1), ("tone", 2), ("tone", 4)]
        assert write(store, row(1, run=P), keys="a") == "1"

    def test_what_says_the_same_again_is_written_once(self, store: Store) -> None:
        assert write(store, row(1)) == "1"
        assert write(store, row(1)) == "0"
        others = [
            row(2), row(1), row(1, comment="why"), row(1, source="judge"), row(True), row(1.5),
            row(1.5, step="draft"), row(1.5, name="other"),
        ]  # fmt: skip
        assert "".join(write(store, each) for each in others) == "1" * len(others)
        assert write(store, row(1.5), row(1.5, step="draft"), row(1.5, name="other")) == "000"

    def test_a_key_does_not_hide_what_was_written_without_one(self, store: Store) -> None:
        write(store, row(1))
        assert write(store, row(1), keys="a") == "1"
        assert write(store, row(1)) == "0"

    def test_the_history_of_ten_thousand_scores_is_in_order(self, store: Store) -> None:
        values = range(10_000)
        write(store, *(row(value) for value in values))

        assert [value for _, value in says(store)] == list(values)

    def test_runs_are_listed_by_task_the_one_scored_last_first(self, store: Store) -> None:
        for run in ("one", "two", "three"):
            write(store, row(1, run=run))
        write(store, row(1, run="other"), task="other")
        write(store, row(2, run="one"))

        assert scored(store) == ["one", "three", "two"]
        assert scored(store, "other") == ["other"]
        assert scored(store, None) == ["one", "other", "three", "two"]
        assert scored(store, limit=2) == ["one", "three"]

    def test_a_list_of_scored_runs_goes_on_after_a_place(self, store: Store) -> None:
        for number in range(9):
            write(store, row(1, run=f"run-{number}"))

        seen = list[str]()
        place: Place | None = None
        while page := store.scored(TASK, before=place, limit=2):
            seen += [each.id for each in page]
            place = page[-1]
        assert seen == [f"run-{number}" for number in reversed(range(9))]

    def test_a_list_of_scored_runs_goes_back_to_a_time(self, store: Store) -> None:
        write(store, row(1))
        [place] = store.scored(TASK, limit=9)

        assert scored(store, since=place.at - 5) == [RUN]
        assert scored(store, since=place.at + 5) == []

    def test_a_caller_need_not_know_the_task(self, store: Store) -> None:
        store.note([Fact(RUN, TASK, RunState.RUNNING, KEEP, b'{"t":"%s"}' % TASK.encode())])
        write(store, row(1), task="", is_known=False)
        assert scored(store) == [RUN]
        write(store, row(1, run="named"))
        write(store, row(2, run="named"), task="")
        assert scored(store) == ["named", RUN]

        write(store, row(1, run="unknown"), task="")
        assert scored(store, None) == ["unknown", "named", RUN]

    def test_a_run_that_nobody_knows_is_an_orphan(self, store: Store) -> None:
        runs = ["noted", "claimed", "recalled", P]
        store.note([Fact(RunId("noted"), TASK, RunState.RUNNING, KEEP, b"about")])
        store.claim(RunId("claimed"), "owner", KEEP)
        store.recall(RunId("recalled"), 1.0, KEEP)
        assign(store)
        write(store, row(1, run="scored"))
        for run in (*runs, "scored"):
            write(store, row(2, run=run), is_known=False)
        assert orphans(store) == []

        write(store, row(1), is_known=False)
        write(store, row(2), is_known=False)
        assert orphans(store) == [RUN]
        assert says(store) == [("tone", 1), ("tone", 2)]

    def test_a_step_that_nobody_knows_makes_its_run_an_orphan(self, store: Store) -> None:
        for run in ("one", "two"):
            store.remember(RunId(run), {"draft": b"memo"}, KEEP)
            write(store, row(1, run=run, step="draft"), is_known=False)
        assert orphans(store) == []

        write(store, row(1, run="two", step="other"), is_known=False)
        assert orphans(store) == ["two"]

    def test_orphans_are_listed_in_pages(self, store: Store) -> None:
        for run in ("one", "two", "three"):
            write(store, row(1, run=run), is_known=False)

        [first] = store.orphans(limit=1)
        assert [first.id, *(each.id for each in store.orphans(before=first, limit=9))] == [
            "three", "two", "one",
        ]  # fmt: skip
