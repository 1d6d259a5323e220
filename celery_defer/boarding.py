"""How a record goes with the result that Celery stores: one round trip for both, or neither."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from celery.backends.redis import RedisBackend

from celery_defer import scope

__all__ = ["Boarding", "connection_of", "open_gate"]


class Boarding:
    """A record that waits for the next pipeline of the result backend."""

    __slots__ = ("_put", "has_gone")

    def __init__(self, put: Callable[[Any], None]) -> None:
        self._put = put
        self.has_gone = False

    def board(self, pipeline: Any) -> None:
        """Put the record's command before all others of *pipeline*.

        Celery tries a pipeline again that found no server; the record goes with each of them
        until one has answered.
        """
        if self.has_gone:
            return
        self._put(pipeline)
        execute = pipeline.execute

        def with_us(*args: Any, **kwargs: Any) -> Any:
            answers = execute(*args, **kwargs)
            self.has_gone = True
            return answers[1:]  # Celery reads its own by their places

        pipeline.execute = with_us


def connection_of(backend: Any) -> Mapping[str, Any] | None:
    """Answer how redis-py connects to a result backend that can take a record along, or None."""
    if not isinstance(backend, RedisBackend):
        return None
    known: Mapping[str, Any] = backend.client.connection_pool.connection_kwargs
    return known


def open_gate(backend: Any) -> None:
    """Let records board the pipelines of *backend*.

    celery.backends.redis.RedisBackend._set stores a result by a pipeline of its client.
    """
    client = backend.client
    if "_celery_defer" in vars(client):
        return
    make = client.pipeline

    def pipeline(*args: Any, **kwargs: Any) -> Any:
        made = make(*args, **kwargs)
        run = scope.find()
        if run is not None and run.boarding is not None:
            run.boarding.board(made)
        return made

    client.pipeline = pipeline
    client._celery_defer = True
