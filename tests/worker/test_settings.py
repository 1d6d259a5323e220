"""Settings as a worker reads them: under a namespace, and checked at its start."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from celery_defer import PayloadError
from tests.worker.caller import Caller
from tests.worker.local import LocalWorker


def test_settings_with_celerys_namespace_reach_the_package(
    start_module_worker: Callable[..., LocalWorker],
    caller_of: Callable[[LocalWorker], Caller],
) -> None:
    """tests.worker.tasks reads CELERY_DEFER_STRICT; 3.5: a strict bad call raises."""
    env = {"DEFER_TEST_CONFIG": '{"defer_strict": true}'}
    worker = start_module_worker("strict", "--pool", "solo", env=env)
    worker.ready()
    caller = caller_of(worker)

    meta = caller.end(caller.send("parents.bad_call"))

    assert meta["status"] == "FAILURE"
    assert isinstance(meta["result"], PayloadError)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"defer_max_per_run": "many"}, "setting defer_max_per_run = 'many': "),
        ({"defer_max_depth": -1}, "setting defer_max_depth = -1: "),
        ({"defer_stirct": True}, "setting defer_stirct does not exist; did you mean defer_strict?"),
    ],
)
def test_a_wrong_setting_stops_the_worker_at_its_start(
    start_module_worker: Callable[..., LocalWorker], setting: dict[str, object], said: str
) -> None:
    env = {"DEFER_TEST_CONFIG": json.dumps(setting)}
    worker = start_module_worker("wrong", "--pool", "solo", env=env)

    assert worker.wait() != 0
    assert said in worker.logs()
    assert " ready." not in worker.logs()


def test_a_worker_without_any_redis_says_once_what_a_crash_would_lose(
    start_module_worker: Callable[..., LocalWorker],
) -> None:
    """5.7"""
    env = {"CELERY_BROKER_URL": "memory://", "CELERY_RESULT_BACKEND": "rpc://"}
    worker = start_module_worker("storeless", "--pool", "solo", env=env)
    worker.ready()

    assert worker.logs().count("finds no Redis in the app's settings") == 1
    assert worker.logs().count("loses those calls") == 1


def test_a_worker_with_a_redis_has_nothing_to_say(caller: Caller) -> None:
    assert "loses those calls" not in caller.worker.logs()
