"""Where no run is in progress, and what the error says."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery

from celery_defer import NoRunError, current_run, defer, step


def test_in_a_task_of_an_app_without_defer_there_is_no_run_and_the_error_names_the_app(
    ship: Any,
) -> None:
    plain, told = Celery("plain", set_as_current=False), []

    @plain.task(name="parent", shared=False)
    def parent() -> None:
        asks: list[Any] = [
            lambda: step.run("first", int),
            lambda: defer("ship", ship, 1),
            current_run,
        ]
        for ask in asks:
            with pytest.raises(NoRunError) as caught:
                ask()
            told.append(str(caught.value))

    parent.apply(throw=True)

    assert len(told) == 3
    assert all(
        "app 'plain' has no Defer(app), so its task parent has no run" in each for each in told
    )
