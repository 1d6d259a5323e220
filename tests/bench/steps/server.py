"""Redis servers of the bench's own: crowds of parked runs need room, and an append-only file."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import redis

from examples.redis_server import free_port
from tests.bench.site import Site
from tests.bench.steps.patience import wait_until

__all__ = ["Fsync", "own_site"]

#: When Redis makes sure that a write is on disk; None without an append-only file.
Fsync = str | None


@contextmanager
def own_site(name: str = "redis", fsync: Fsync = None) -> Iterator[Site]:
    """Start a Redis that is broker, result backend and store, and end it after."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="celery-defer-bench-") as folder:
        where = ["--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
        process = subprocess.Popen(
            [_program(), *where, *_kept(fsync)], stdout=subprocess.DEVNULL, start_new_session=True
        )
        try:
            url = f"redis://127.0.0.1:{port}/0"
            _wait(url)
            yield Site(name, url, url, url)
        finally:
            process.kill()
            process.wait()


def _program() -> str:
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        raise SystemExit("the bench needs redis-server or valkey-server on PATH")
    return program


def _kept(fsync: Fsync) -> list[str]:
    return ["--appendonly", "yes", "--appendfsync", fsync] if fsync else []


def _wait(url: str) -> None:
    with redis.Redis.from_url(url, retry=None) as client:
        wait_until(lambda: _answers(client), f"redis-server on {url}", patience=10)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
