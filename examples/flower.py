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
def running_flower(module: str, config: str, worker: Worker, **environment: str) -> Iterator[str]:
    """Start a Flower for the app of *module*, and give its address when it hears the *worker*."""
    port = free_port()
    options = [f"--address={ADDRESS}", f"--port={port}", f"--conf={config}"]
    # It listens to this machine alone, so that it may let everybody press its buttons.
    environment = {"FLOWER_UNAUTHENTICATED_API": "true", **environment}
    command = [*COMMAND, "-A", module, "flower", *options]
    with started("Flower", command, environment) as flower:
        _wait_until_ready(port, flower, worker)
        yield f"http://{ADDRESS}:{port}"


def _wait_until_ready(port: int, flower: Worker, worker: Worker, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while worker.name not in _workers(port):
        flower.check()
        if time.monotonic() > deadline:
            raise WorkerError(f"Flower has not heard of the worker for {seconds:.0f} seconds")
        time.sleep(0.1)


def _workers(port: int) -> str:
    """Return the workers of which Flower has had an event, as JSON; "" if it does not reply."""
    connection = HTTPConnection(ADDRESS, port, timeout=1)
    try:
        connection.request("GET", "/workers?json=true")
        return connection.getresponse().read().decode()
    except OSError:
        return ""
    finally:
        connection.close()
