"""RabbitMQ: the one that runs on this machine, and a virtual host of a test's own on it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from shutil import which
from uuid import uuid4

import pytest

from tests.support.processes import missing

__all__ = [
    "RABBITMQ", "empty_virtual_host", "messages_in", "need_rabbitmq", "own_rabbitmq",
    "virtual_host",
]  # fmt: skip

RABBITMQ = "amqp://guest:guest@localhost:5672"


def need_rabbitmq() -> None:
    try:
        socket.create_connection(("localhost", 5672), timeout=2).close()
    except OSError:
        missing("no RabbitMQ on localhost:5672")


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


@contextmanager
def own_rabbitmq() -> Iterator[str]:
    """Give the URL of a virtual host of our own; skip the test where we may not make one."""
    need_rabbitmq()
    with virtual_host() as name:
        if not name:
            pytest.skip("rabbitmqctl made no virtual host")
        yield f"{RABBITMQ}/{name}"


def empty_virtual_host(url: str) -> None:
    """Let RabbitMQ forget every queue and message of a virtual host of our own."""
    name = _name_in(url)
    assert _rabbitmqctl("delete_vhost", name)
    assert _rabbitmqctl("add_vhost", name)
    assert _rabbitmqctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")


def messages_in(queue: str, url: str) -> int:
    """Return how many messages a queue has, acknowledged by nobody."""
    command = ["rabbitmqctl", "-q", "list_queues", "-p", _name_in(url), "name", "messages"]
    listed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return int(dict(line.split() for line in listed.splitlines())[queue])


def _name_in(url: str) -> str:
    return url.rpartition("/")[2]


def _rabbitmqctl(*command: str) -> bool:
    """Run rabbitmqctl; False where there is none, or where this user may not."""
    if not which("rabbitmqctl"):
        return False
    done = subprocess.run(["rabbitmqctl", "-q", *command], capture_output=True, check=False)
    return done.returncode == 0
