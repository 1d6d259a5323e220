"""Values by name, in Redis, for every process of an app: here a database, and a cache."""

from __future__ import annotations

from typing import Any

from celery import Celery

__all__ = ["Table"]


class Table:
    """One Redis hash."""

    def __init__(self, app: Celery, name: str) -> None:
        self._app = app
        self._name = f"table:{name}"

    def get(self, key: str) -> str | None:
        value: bytes | None = self._redis.hget(self._name, key)
        return value.decode() if value else None

    def put(self, key: str, value: str) -> None:
        self._redis.hset(self._name, key, value)

    def drop(self, key: str) -> None:
        self._redis.hdel(self._name, key)

    @property
    def _redis(self) -> Any:
        backend: Any = self._app.backend
        return backend.client
