"""Local processes answer pytest-celery as its containers do."""

from __future__ import annotations

from collections.abc import Callable

import celery
import pytest
from pytest_celery import CeleryTestSetup

from tests.worker.caller import Caller
from tests.worker.local import IN_DOCKER, LocalWorker


def test_the_setup_is_ready(celery_setup: CeleryTestSetup) -> None:
    assert celery_setup.ready(control=True)
    assert len(celery_setup) == 3
    celery_setup.worker.assert_log_exists("ready.")


@pytest.mark.skipif(IN_DOCKER, reason="a container has a Celery of its own")
def test_a_worker_has_the_celery_of_the_tests(celery_setup: CeleryTestSetup) -> None:
    assert celery_setup.worker_cluster.versions == {celery.__version__}


def test_a_worker_that_was_killed_works_after_its_restart(
    start_module_worker: Callable[..., LocalWorker],
    caller_of: Callable[[LocalWorker], Caller],
) -> None:
    caller = caller_of(start_module_worker("restarted", "--pool", "solo"))
    caller.worker.ready()

    caller.worker.kill()
    assert caller.worker.container.status == "exited"
    caller.worker.restart()

    assert caller.child(caller.send("parents.many", count=1), "call-0")["n"] == 0
