"""Workers that are attacked, on a Redis of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.redis import Server
from tests.worker.flow.arena import Arena
from tests.worker.flow.witness import PORT, Witness

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == HERE and "arena" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.worker)


@pytest.fixture
def witness(monkeypatch: pytest.MonkeyPatch) -> Iterator[Witness]:
    with Witness() as witness:
        monkeypatch.setenv(PORT, str(witness.port))
        yield witness


@pytest.fixture
def arena(server: Server, witness: Witness, request: pytest.FixtureRequest) -> Iterator[Arena]:
    """One place for each key, or as many as the mark says."""
    arena = Arena(server, witness, at_once=getattr(request, "param", 1))
    try:
        yield arena
    finally:
        arena.close()
