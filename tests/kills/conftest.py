"""Workers that get killed, on services of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.kills.cells import COLUMNS, Cell, Column, Seen, expected
from tests.kills.stage import Stage
from tests.kills.table import IS_MADE, PAGE, render
from tests.worker.local import LocalWorker
from tests.worker.services import RABBITMQ, RedisServer, need_rabbitmq, virtual_host

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and "stage_of" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.worker)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Show with a failure what the workers said."""
    report = yield
    if report.failed and HERE in item.path.parents:
        for worker in LocalWorker.running:
            report.sections.append(("log of the worker", worker.logs()[-6000:]))
    return report


@pytest.fixture(scope="session")
def redis_of_all() -> Iterator[RedisServer]:
    """A Redis with a broker's database and a backend's database for each column."""
    with RedisServer(databases=2 * len(COLUMNS)) as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq_of_all() -> Iterator[str]:
    need_rabbitmq()
    with virtual_host() as name:
        if not name:
            pytest.skip("rabbitmqctl made no virtual host")
        yield f"{RABBITMQ}/{name}"


@pytest.fixture(scope="module")
def stage_of(
    request: pytest.FixtureRequest, redis_of_all: RedisServer
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


@pytest.fixture(scope="session")
def outcomes() -> Iterator[dict[Cell, Seen]]:
    """What was seen in each cell; becomes the docs' table if DEFER_KILL_TABLE is set."""
    seen: dict[Cell, Seen] = {}
    yield seen
    if IS_MADE:
        PAGE.write_text(render(seen))


@pytest.fixture
def seen_in(
    stage_of: Callable[[Column], Stage], outcomes: dict[Cell, Seen]
) -> Callable[[Cell], Seen]:
    """Play a cell on a worker with its settings, and keep what was seen."""

    def play(cell: Cell) -> Seen:
        outcomes[cell] = stage_of(cell.column).play(cell, expected(cell))
        return outcomes[cell]

    return play
