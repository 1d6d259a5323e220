"""A Redis store whose clocks stand still, so that a test's own times are the server's."""

from __future__ import annotations

from redis import Redis

from celery_defer.store import RedisStore

__all__ = ["StandingStore"]

_REAL = {"note", "score", "assign"}


class StandingStore(RedisStore):
    """For the server and for the caller it is always the same time: 0. In histories it goes on."""

    def __init__(self, client: Redis, prefix: str = "defer:") -> None:
        super().__init__(client, prefix, clock=lambda: 0.0)

    def _source(self, part: str) -> str:
        if part == "now":
            return "local now = 0\n"
        source = super()._source(part)
        if part == "note":  # histories and scores have times of their own
            source = super()._source("now") + source
        return source.replace("now", "real") if part in _REAL else source
