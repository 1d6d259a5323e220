"""How a record goes with the result that Celery stores: one round trip for both."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any

from celery.backends.redis import RedisBackend

from celery_defer.run import scope

__all__ = ["Boarding", "connection_of", "open_gate"]

logger = logging.getLogger(__name__)


class _State(Enum):
    WAITING = auto()
    BOARDING = auto()
    ABOARD = auto()
    REFUSED = auto()


class Boarding:
    """A record that waits for the result of its run to be stored under *key*."""

    __slots__ = ("_put", "_state", "key")

    def __init__(self, key: Any, put: Callable[[Any], None]) -> None:
        self.key = key
        self._put = put
        self._state = _State.WAITING

    @property
    def has_gone(self) -> bool:
        """Whether the store has the record."""
        return self._state is _State.ABOARD

    def store_result(self, key: Any, store: Callable[[], Any]) -> Any:
        """Let the record go with what *store* stores under *key*, if that is the run's result."""
        if key != self.key or self._state is not _State.WAITING:
            return store()
        self._state = _State.BOARDING
        try:
            return store()
        except Exception as error:
            # What Redis refuses of us, it refuses of the whole transaction: Celery's part alone
            # then, and ours by a way on which it can fail by itself.
            logger.warning("a record could not go with its result: %r", error)
            self._state = _State.REFUSED
            return store()
        finally:
            if self._state is _State.BOARDING:
                self._state = _State.REFUSED

    def board(self, pipeline: Any) -> None:
        """Put the record's command before all others of the *pipeline* that stores the result."""
        if self._state is not _State.BOARDING:
            return
        self._put(pipeline)
        execute = pipeline.execute

        def with_us(*args: Any, **kwargs: Any) -> Any:
            pipeline.execute = execute
            ours, *theirs = execute(*args, **kwargs)
            if ours == 1:
                self._state = _State.ABOARD
            else:
                logger.warning("a record could not go with its result: %r", ours)
            return theirs

        pipeline.execute = with_us


def connection_of(backend: Any) -> Mapping[str, Any] | None:
    """Answer how redis-py connects to a result backend that can take a record along, or None."""
    if not isinstance(backend, RedisBackend):
        return None
    known: Mapping[str, Any] = backend.client.connection_pool.connection_kwargs
    return known


def open_gate(backend: Any) -> None:
    """Let records go with the results of *backend*.

    celery.backends.redis.RedisBackend._set stores one by a pipeline of the backend's client. Any
    other pipeline of that client is left alone.
    """
    client = backend.client
    if "_celery_defer" in vars(client):
        return
    make, store = client.pipeline, backend._set

    def pipeline(*args: Any, **kwargs: Any) -> Any:
        made = make(*args, **kwargs)
        if (run := scope.find()) is not None and run.boarding is not None:
            run.boarding.board(made)
        return made

    def _set(key: Any, *args: Any, **kwargs: Any) -> Any:
        run = scope.find()
        if run is None or run.boarding is None:
            return store(key, *args, **kwargs)
        return run.boarding.store_result(key, lambda: store(key, *args, **kwargs))

    client.pipeline, backend._set = pipeline, _set
    client._celery_defer = True
