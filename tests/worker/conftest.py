"""Real workers on real services, by way of pytest-celery.

By default its clusters stand on a Redis that runs already, or is started, and on local worker
processes, shared by the whole session. With DEFER_TEST_DOCKER=1 its own containers are used:
see containers.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from pytest_celery import (
    CeleryBackendCluster,
    CeleryBrokerCluster,
    CeleryTestBackend,
    CeleryTestBroker,
    CeleryTestSetup,
    CeleryTestWorker,
    CeleryWorkerCluster,
)

from tests.support.commit import VARIABLE, WAYS
from tests.support.processes import CeleryWorker
from tests.support.redis import own_database
from tests.worker.caller import Caller
from tests.worker.local import IN_DOCKER, LocalService, LocalWorker

HERE = Path(__file__).parent

StartWorker = Callable[..., LocalWorker]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent == HERE:  # kills, soak and trial have tests that start no worker
            item.add_marker(pytest.mark.worker)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("in_each_way") and len(WAYS) > 1:
        metafunc.parametrize("commit", WAYS, indirect=True, scope="session")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    """Show with a failure what the workers said."""
    report = yield
    if report.failed and HERE in item.path.parents:
        for worker in CeleryWorker.unclosed:
            report.sections.append((f"log of {worker.hostname}", worker.logs()[-6000:]))
    return report


# -- services and workers ------------------------------------------------------------------


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with own_database() as url:
        yield url


@pytest.fixture(scope="session", autouse=True)
def commit(request: pytest.FixtureRequest) -> str:
    """The way in which workers commit; a test with the mark ``in_each_way`` runs in each."""
    return str(getattr(request, "param", os.environ.get(VARIABLE, "")))


@pytest.fixture(scope="session")
def start_worker(redis_url: str, commit: str) -> Iterator[StartWorker]:
    """Start workers that last to the session's end, or until others are to commit another way."""
    with _workers(redis_url, commit) as start:
        yield start


@pytest.fixture(scope="module")
def start_module_worker(redis_url: str, commit: str) -> Iterator[StartWorker]:
    """Start workers that last to the module's end, or until others are to commit another way."""
    with _workers(redis_url, commit) as start:
        yield start


@contextmanager
def _workers(redis_url: str, commit: str) -> Iterator[StartWorker]:
    workers = []
    own = {
        "CELERY_BROKER_URL": redis_url,
        "CELERY_RESULT_BACKEND": redis_url,
        VARIABLE: commit,
    }

    def start(
        queue: str, *options: str, env: dict[str, str] | None = None, **more: str
    ) -> LocalWorker:
        workers.append(LocalWorker(queue, *options, env={**own, **(env or {})}, **more))
        return workers[-1]

    try:
        yield start
    finally:
        for worker in workers:  # all at once: each takes a second or more
            worker.terminate()
        for worker in workers:
            worker.teardown()


# -- pytest-celery's clusters, and what stands on them -------------------------------------------

if IN_DOCKER:
    from tests.worker.containers import (  # noqa: F401
        celery_broker_cluster,
        default_worker_command,
        default_worker_env,
        default_worker_initial_content,
    )
else:

    @pytest.fixture(scope="session")
    def celery_broker_cluster(redis_url: str) -> CeleryBrokerCluster:
        return CeleryBrokerCluster(CeleryTestBroker(LocalService("redis-broker", redis_url)))

    @pytest.fixture(scope="session")
    def celery_backend_cluster(redis_url: str) -> CeleryBackendCluster:
        return CeleryBackendCluster(CeleryTestBackend(LocalService("redis-backend", redis_url)))

    @pytest.fixture(scope="session")
    def celery_worker_cluster(start_worker: StartWorker) -> CeleryWorkerCluster:
        worker = start_worker("celery", "--concurrency", "1", queues="celery,side")
        worker.ready()
        return CeleryWorkerCluster(CeleryTestWorker(worker, app=None))


@pytest.fixture
def caller(celery_setup: CeleryTestSetup) -> Iterator[Caller]:
    """A client of the shared worker: prefork, one process, queues "celery" and "side"."""
    with Caller(celery_setup.app, celery_setup.worker) as caller:
        yield caller


@pytest.fixture
def caller_of(redis_url: str) -> Iterator[Callable[[LocalWorker], Caller]]:
    """Make a client of a worker that was started with ``start_module_worker``."""

    def make(worker: LocalWorker) -> Caller:
        app = Celery("client", broker=redis_url, backend=redis_url, set_as_current=False)
        return stack.enter_context(Caller(app, CeleryTestWorker(worker, app)))

    with ExitStack() as stack:
        yield make
