"""What was published, as defer ids."""

from __future__ import annotations

import pytest

from tests.support.blocks import Published
from tests.support.inside import Worker, ids_of


@pytest.fixture
def published(worker: Worker) -> Published:
    return lambda: ids_of(worker.published())
