"""What the small examples stand on: a Redis of their own, a real worker, a clock to be moved."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import Any, NoReturn

import click
import redis
from celery import Celery
from kombu.exceptions import OperationalError

from examples.redis_server import RedisNotFoundError, own_database, redis_server
from examples.worker import Worker, WorkerError, started_worker, wait_until_ready

__all__ = ["REDIS_URL", "Clock", "Notes", "Table", "perform", "wait_until_parked"]

REDIS_URL = os.environ.get("EXAMPLE_REDIS_URL", "redis://localhost:6379/0")


class Clock:
    """The time, and the days that were skipped: the same in every process of *app*."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def __call__(self) -> float:
        return time.time() + float(_redis(self._app).get("skipped") or 0)

    def skip(self, days: float) -> None:
        """Let *days* pass at once."""
        _redis(self._app).incrbyfloat("skipped", timedelta(days=days).total_seconds())


class Notes:
    """Lines that any process of *app* writes, and all of them read."""

    def __init__(self, app: Celery, name: str) -> None:
        self._app = app
        self._name = f"notes:{name}"

    def add(self, line: str) -> None:
        _redis(self._app).rpush(self._name, line)

    def all(self) -> list[str]:
        return [line.decode() for line in _redis(self._app).lrange(self._name, 0, -1)]


class Table:
    """Values by name, the same in every process of *app*."""

    def __init__(self, app: Celery, name: str) -> None:
        self._app = app
        self._name = f"table:{name}"

    def get(self, key: str) -> str | None:
        found: bytes | None = _redis(self._app).hget(self._name, key)
        return found.decode() if found else None

    def put(self, key: str, value: str) -> None:
        _redis(self._app).hset(self._name, key, value)

    def drop(self, key: str) -> None:
        _redis(self._app).hdel(self._name, key)


def perform(app: Celery, module: str, story: Callable[[], None]) -> None:
    """Run *story* beside a worker of *module*, whose app is *app*; exit with 1 where it fails."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        with redis_server() as server, own_database(server) as url:
            app.conf.update(broker_url=url, result_backend=url)
            with _logged_worker(app, module, url):
                story()
    except KeyboardInterrupt:
        sys.exit(130)
    except (RedisNotFoundError, WorkerError) as error:
        _fail(str(error))
    except (redis.ConnectionError, OperationalError) as error:
        _fail(f"Redis has gone: {error}")


def wait_until_parked(run: Any, seconds: float = 20) -> None:
    """Return when *run* has left its worker; raise WorkerError if it does not."""
    deadline = time.monotonic() + seconds
    while run.state != "WAITING":
        if time.monotonic() > deadline:
            raise WorkerError(f"run {run.id} has been {run.state} for {seconds:.0f} seconds")
        time.sleep(0.02)


@contextmanager
def _logged_worker(app: Celery, module: str, url: str) -> Iterator[Worker]:
    """Give a worker that is ready; where anything fails, show the end of its log."""
    with started_worker(module, f"{app.main}@example", EXAMPLE_REDIS_URL=url) as worker:
        try:
            wait_until_ready(app, worker)
            yield worker
        except Exception as error:
            raise WorkerError(f"{error}; the end of its log:\n{worker.log_tail()}") from error


def _redis(app: Celery) -> Any:
    """The Redis of the app's results."""
    backend: Any = app.backend
    return backend.client


def _fail(problem: str) -> NoReturn:
    click.echo(f"Error: {problem}", err=True)
    sys.exit(1)


def _end(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)
