"""A run id that is none."""

from __future__ import annotations

import pytest
from celery import Celery

from celery_defer import NoRecordError, record, tree
from celery_defer.testing import Simulation


@pytest.mark.parametrize("read", [record, tree])
def test_an_empty_id_is_named(read: object, app: Celery, sim: Simulation) -> None:
    with pytest.raises(NoRecordError, match="empty"):
        read("", app=app)  # type: ignore[operator]
