"""A real Flower for an example, with the Deferred tab; it ends with the example."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection

from examples.redis_server import free_port
from examples.worker import COMMAND, Worker, WorkerError, started

__all__ = ["running_flower"]

ADDRESS = "127.0.0.1"


@contextmanager
def running_flower(module: str, config: str, **environment: str) -> Iterator[str]:
    """Start a Flower for the app of *module*, and give its address when it replies."""
    port = free_port()
    options = [f"--address={ADDRESS}", f"--port={port}", f"--conf={config}"]
    # It listens to this machine alone, so that it may let everybody press its buttons.
    environment = {"FLOWER_UNAUTHENTICATED_API": "true", **environment}
    command = [*COMMAND, "-A", module, "flower", *options]
    with started("Flower", command, environment) as flower:
        _wait_until_ready(port, flower)
        yield f"http://{ADDRESS}:{port}"


def _wait_until_ready(port: int, flower: Worker, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not _replies(port):
        flower.check()
        if time.monotonic() > deadline:
            raise WorkerError(f"Flower has not answered for {seconds:.0f} seconds")
        time.sleep(0.1)


def _replies(port: int) -> bool:
    connection = HTTPConnection(ADDRESS, port, timeout=1)
    try:
        connection.request("GET", "/healthcheck")
        connection.getresponse()
    except OSError:
        return False
    finally:
        connection.close()
    return True
