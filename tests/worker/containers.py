"""pytest-celery's own containers, with DEFER_TEST_DOCKER=1: every test gets fresh ones.

The broker, the backend and the worker that tests share then run in Docker; workers that a
module starts for itself, with another pool or settings, stay local processes.
"""

from __future__ import annotations

import pytest
from pytest_celery import CeleryBrokerCluster, CeleryTestBroker

from tests.support.commit import VARIABLE
from tests.support.processes import ROOT

__all__ = [
    "celery_broker_cluster",
    "default_worker_command",
    "default_worker_env",
    "default_worker_initial_content",
]

_COMMAND = (
    "pip install --quiet pydantic && exec python -m celery -A tests.worker.tasks worker"
    " --hostname celery_test_worker@%h --queues celery,side --concurrency 1 --loglevel INFO"
)


@pytest.fixture
def celery_broker_cluster(celery_redis_broker: CeleryTestBroker) -> CeleryBrokerCluster:
    """Redis alone: pytest-celery would run each test on RabbitMQ too; test_rabbitmq.py does."""
    return CeleryBrokerCluster(celery_redis_broker)


@pytest.fixture
def default_worker_command() -> list[str]:
    return ["sh", "-c", _COMMAND]


@pytest.fixture
def default_worker_env(default_worker_env: dict[str, str], commit: str) -> dict[str, str]:
    return {**default_worker_env, VARIABLE: commit}


@pytest.fixture
def default_worker_initial_content(
    default_worker_initial_content: dict[str, bytes],
) -> dict[str, bytes]:
    """The files of the worker's volume: what pytest-celery puts there, the package, the app."""
    app = [
        ROOT / f"tests/{name}.py" for name in ("worker/tasks", "worker/tracing", "support/commit")
    ]
    package = [path for path in ROOT.glob("celery_defer/**/*") if path.suffix in {".py", ".lua"}]
    ours = [*package, *app]
    files = {str(path.relative_to(ROOT)): path.read_bytes() for path in ours}
    return {**default_worker_initial_content, **files}
