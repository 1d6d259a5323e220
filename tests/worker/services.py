"""Services of a test's own: a Redis that may be stopped, a virtual host of RabbitMQ."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from uuid import uuid4

import pytest
import redis

from examples.redis_server import free_port
from tests.support.processes import wait_until

__all__ = ["RABBITMQ", "RedisServer", "empty_virtual_host", "need_rabbitmq", "virtual_host"]

RABBITMQ = "amqp://guest:guest@localhost:5672"


class RedisServer:
    """A ``redis-server`` that keeps its data while it is stopped, and its port."""

    def __init__(self, databases: int = 16) -> None:
        program = which("redis-server") or which("valkey-server")
        if program is None:
            pytest.skip("no redis-server or valkey-server on PATH")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self._folder = Path(tempfile.mkdtemp(prefix="celery-defer-redis-"))
        self._command = [
            *(program, "--port", str(self.port), "--bind", "127.0.0.1"),
            *("--dir", str(self._folder), "--appendonly", "yes", "--appendfsync", "no"),
            *("--save", "", "--databases", str(databases)),
        ]
        self.start()

    def __enter__(self) -> RedisServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, start_new_session=True
        )
        wait_until(self._answers, f"Redis on port {self.port}")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()

    def pause(self) -> None:
        """Let it hang: connections stay open, and nothing answers."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with redis.Redis(port=self.port, host="127.0.0.1", retry=None) as client:
                return bool(client.ping())
        except redis.ConnectionError:  # also while it loads its data
            return False


@contextmanager
def virtual_host() -> Iterator[str]:
    """Give the name of a virtual host of our own; "" where we may not make one."""
    name = f"defer-test-{uuid4()}"
    if not _rabbitmqctl("add_vhost", name):
        yield ""
        return
    try:
        assert _rabbitmqctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")
        yield name
    finally:
        _rabbitmqctl("delete_vhost", name)


def empty_virtual_host(name: str) -> None:
    """Let RabbitMQ forget every queue and message of a virtual host of our own."""
    assert _rabbitmqctl("delete_vhost", name)
    assert _rabbitmqctl("add_vhost", name)
    assert _rabbitmqctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")


def need_rabbitmq() -> None:
    try:
        socket.create_connection(("localhost", 5672), timeout=2).close()
    except OSError:
        if os.environ.get("CI") == "true":
            pytest.fail("CI has no RabbitMQ on localhost:5672")
        pytest.skip("no RabbitMQ on localhost:5672")


def _rabbitmqctl(*command: str) -> bool:
    """Run rabbitmqctl; False where there is none, or where this user may not."""
    if not which("rabbitmqctl"):
        return False
    done = subprocess.run(["rabbitmqctl", "-q", *command], capture_output=True, check=False)
    return done.returncode == 0
