"""Whoever is killed, wherever: what a succeeded parent deferred runs exactly once (rule 5.2)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.worker.kills.cells import CELLS, EARLY, Cell, Column, Seen, expected
from tests.worker.kills.stage import Stage
from tests.worker.kills.step_cells import STEP_CELLS, StepCell, StepSeen, expected_of_steps
from tests.worker.kills.table import IS_MADE, PAGE, render


def _param(cell: Cell | StepCell) -> object:
    marks = () if cell.is_core else (pytest.mark.matrix,)
    return pytest.param(cell, id=str(cell), marks=marks)


@pytest.mark.parametrize("cell", [_param(cell) for cell in CELLS])
def test_deferred_runs_complete_once_if_their_parent_succeeded(
    seen_in: Callable[[Cell], Seen], cell: Cell
) -> None:
    assert seen_in(cell) == expected(cell)


@pytest.mark.parametrize("cell", [_param(cell) for cell in STEP_CELLS])
def test_a_run_goes_on_where_it_was_if_it_was_parked_or_celery_runs_it_again(
    steps_seen_in: Callable[[StepCell], StepSeen], cell: StepCell
) -> None:
    assert steps_seen_in(cell) == expected_of_steps(cell)


@pytest.mark.parametrize(
    ("point", "completed", "record"),
    [("body", (0, 0, 0), ()), ("staged", (0, 1, 1), ("succeeded", "succeeded"))],
)
def test_a_parent_that_celery_lost_has_failed_if_its_calls_were_staged(
    stage_of: Callable[[Column], Stage],
    point: str,
    completed: tuple[int, int, int],
    record: tuple[str, ...],
) -> None:
    """4.2: the stored FAILURE decides; calls that were in memory are gone with the body."""
    want = Seen("FAILURE", 1, completed, record=("failed", *record))
    cell = Cell(EARLY, point, "child")

    seen = stage_of(EARLY).play(cell, want, ("success", "failure", "always"))

    assert seen == want


@pytest.mark.skipif(IS_MADE, reason="it is being made")
def test_the_table_in_the_docs_is_what_these_tests_see() -> None:
    """`make kill-table` writes it from what was seen."""
    of_calls = {cell: expected(cell) for cell in CELLS}
    of_steps = {cell: expected_of_steps(cell) for cell in STEP_CELLS}

    assert PAGE.read_text() == render(of_calls, of_steps)


def test_a_run_of_which_something_is_lost_or_doubled_is_one_that_celery_loses_or_doubles() -> None:
    assert {str(expected(cell)) for cell in CELLS if not cell.is_celerys} == {
        "once",
        "never",
        "never; record waits",
    }


def test_a_step_is_done_twice_only_where_it_was_killed_before_it_was_kept() -> None:
    twice = {cell.point for cell in STEP_CELLS if expected_of_steps(cell).first == 2}

    assert twice == {"step-unkept"}
