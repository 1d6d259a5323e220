"""Rule 3.6: where no run is in progress there is nothing to defer from."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import NoRunError, current_run, defer
from tests.support.inside import Worker, parent_of


def test_3_6_outside_a_run_there_is_nothing_to_defer_from(receipt: Any) -> None:
    with pytest.raises(NoRunError, match="no run in progress"):
        defer("receipt", receipt, order_id=7)
    with pytest.raises(NoRunError):
        current_run()


def test_3_6_a_task_called_as_a_function_is_no_run(app: Celery, receipt: Any) -> None:
    parent = parent_of(app, lambda: defer("receipt", receipt, order_id=7))

    with pytest.raises(NoRunError):
        parent()


def test_3_6_after_the_body_it_is_too_late(app: Celery, worker: Worker, receipt: Any) -> None:
    problems: list[str] = []

    def too_late(self: Any, *_: Any) -> None:
        try:
            defer("receipt", receipt, order_id=7)
        except NoRunError as problem:
            problems.append(str(problem))

    worker.run(parent_of(app, lambda: None, on_success=too_late))

    assert "has left its body" in problems[0]
