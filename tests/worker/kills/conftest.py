"""Workers that get killed, on services of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.rabbitmq import own_rabbitmq
from tests.support.redis import Server, running
from tests.worker.kills.cells import COLUMNS, Cell, Column, Seen, expected
from tests.worker.kills.stage import Stage
from tests.worker.kills.step_cells import StepCell, StepSeen, expected_of_steps
from tests.worker.kills.table import IS_MADE, PAGE, render

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if HERE in item.path.parents]
    for item in here:
        if "stage_of" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.worker)
    _sort_by_column(items, [item for item in here if _column(item) is not None])


def _sort_by_column(items: list[pytest.Item], cells: list[pytest.Item]) -> None:
    """Let the cells of one worker come one after the other, so that it starts once."""
    places = [items.index(item) for item in cells]
    for place, item in zip(places, sorted(cells, key=_column), strict=True):  # type: ignore[arg-type, type-var]
        items[place] = item


def _column(item: pytest.Item) -> int | None:
    cell = item.callspec.params.get("cell") if hasattr(item, "callspec") else None
    return None if cell is None else COLUMNS.index(cell.column)


@pytest.fixture(scope="session")
def redis_of_all() -> Iterator[Server]:
    """A Redis with a broker's database and a backend's database for each column."""
    with running("--databases", str(2 * len(COLUMNS))) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_of_all() -> Iterator[str]:
    with own_rabbitmq() as url:
        yield url


@pytest.fixture(scope="module")
def stage_of(
    request: pytest.FixtureRequest, redis_of_all: Server
) -> Iterator[Callable[[Column], Stage]]:
    """Open the stage of a column: a worker with its settings, one at a time."""
    opened: dict[Column, Stage] = {}

    def of(column: Column) -> Stage:
        if column not in opened:
            stack.close()
            opened.clear()
            number = 2 * COLUMNS.index(column)
            broker = f"{redis_of_all.url}/{number}"
            if column.broker == "RabbitMQ":
                broker = request.getfixturevalue("rabbitmq_of_all")
            stage = Stage(column, broker, f"{redis_of_all.url}/{number + 1}")
            opened[column] = stack.enter_context(stage)
        return opened[column]

    with ExitStack() as stack:
        yield of


@dataclass
class Outcomes:
    """What was seen in each cell."""

    of_calls: dict[Cell, Seen] = field(default_factory=dict)
    of_steps: dict[StepCell, StepSeen] = field(default_factory=dict)


@pytest.fixture(scope="session")
def outcomes() -> Iterator[Outcomes]:
    """What was seen in each cell; becomes the docs' tables if DEFER_KILL_TABLE is set."""
    seen = Outcomes()
    yield seen
    if IS_MADE:
        PAGE.write_text(render(seen.of_calls, seen.of_steps))


@pytest.fixture
def seen_in(stage_of: Callable[[Column], Stage], outcomes: Outcomes) -> Callable[[Cell], Seen]:
    """Play a cell on a worker with its settings, and keep what was seen."""

    def play(cell: Cell) -> Seen:
        seen = outcomes.of_calls[cell] = stage_of(cell.column).play(cell, expected(cell))
        return seen

    return play


@pytest.fixture
def steps_seen_in(
    stage_of: Callable[[Column], Stage], outcomes: Outcomes
) -> Callable[[StepCell], StepSeen]:
    """Play a cell of runs with steps, and keep what was seen."""

    def play(cell: StepCell) -> StepSeen:
        stage, want = stage_of(cell.column), expected_of_steps(cell)
        seen = outcomes.of_steps[cell] = stage.play_steps(cell, want)
        return seen

    return play
