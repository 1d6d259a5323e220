"""A function with a batch, and what it has run."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import Batch, deferred
from tests.support.batches import Ran, Visit
from tests.support.inside import WatchedStore


@pytest.fixture
def ran() -> Ran:
    """The pages of each batch that was run."""
    return []


@pytest.fixture
def write(app: Celery, ran: Ran, store: WatchedStore) -> Any:
    """A function whose batches have three calls, or leave after ten seconds."""

    @deferred(app, name="write", schema=Visit, batch=Batch(3, "10s"))
    def write(visits: list[Visit]) -> str:
        ran.append([visit.page for visit in visits])
        return "written"

    return write
