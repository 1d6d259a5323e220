"""Clocks that stand still, and a Redis store with one: a test's own times are the server's."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import time

from redis import Redis

from celery_defer.store import RedisStore

__all__ = ["StandingClock", "StandingStore"]

_REAL = {"note", "score", "assign"}


@dataclass
class StandingClock:
    """Stands still until a test moves it."""

    now: float = field(default_factory=time)

    def __call__(self) -> float:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += seconds


class StandingStore(RedisStore):
    """For the server and for the caller it is the same time: 0, until the test moves it.

    In histories it goes on.
    """

    def __init__(self, client: Redis, prefix: str = "defer:") -> None:
        self._time_key = f"{prefix}now"
        self.now = 0.0
        super().__init__(client, prefix, clock=lambda: self.now)

    def move(self, seconds: float) -> None:
        """Move the server's clock, and that of the caller."""
        self.now += seconds
        self._client.set(self._time_key, repr(self.now))

    def _source(self, part: str) -> str:
        if part == "now":
            return f"local now = tonumber(redis.call('GET', {self._time_key!r}) or '0')\n"
        source = super()._source(part)
        if part == "note":  # histories and scores have times of their own
            source = super()._source("now") + source
        return source.replace("now", "real") if part in _REAL else source
