"""Redis servers of the bench's own: crowds of parked runs need room, and an append-only file."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep

import redis

from examples.redis_server import free_port
from tests.bench.site import Site

__all__ = ["Fsync", "own_site"]

#: When Redis makes sure that a write is on disk; None without an append-only file.
Fsync = str | None


@contextmanager
def own_site(name: str = "redis", fsync: Fsync = None) -> Iterator[Site]:
    """Start a Redis that is broker, result backend and store, and end it after."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="celery-defer-bench-") as folder:
        process = subprocess.Popen(
            [_program(), "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, *_kept(fsync)],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
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
    if fsync is None:
        return ["--save", ""]
    return ["--save", "", "--appendonly", "yes", "--appendfsync", fsync]


def _wait(url: str) -> None:
    deadline = monotonic() + 10
    with redis.Redis.from_url(url, retry=None) as client:
        while monotonic() < deadline:
            try:
                client.ping()
            except redis.ConnectionError:
                sleep(0.02)
            else:
                return
    raise SystemExit(f"redis-server does not answer on {url}")
