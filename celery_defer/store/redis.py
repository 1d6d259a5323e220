"""The store in Redis 6.2 or newer: one script an operation, in the folder ``lua``."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from redis import Redis

from celery_defer.ids import RunId
from celery_defer.store.protocol import Claim, Quarantined, Taken

__all__ = ["RedisStore"]

_LUA = files("celery_defer.store") / "lua"


class RedisStore:
    """Keeps records under *prefix*; the keys of one run share its id as their hash tag."""

    def __init__(self, client: Redis, prefix: str = "celery-defer:") -> None:
        self._client = client
        self._prefix = prefix
        self._due = f"{prefix}due"
        self._aside = f"{prefix}quarantine"
        self._stage = self._script("stage")
        self._settle = self._script("settle")
        self._take = self._script("take")
        self._postpone = self._script("postpone")
        self._quarantine = self._script("quarantine")
        self._claim = self._script("claim")

    def stage(self, id: RunId, token: str, body: bytes, due: float, keep: float) -> None:
        self._stage([self._record(id), self._due], [id, token, body, due, _seconds(keep)])

    def settle(self, id: RunId, token: str) -> None:
        self._settle([self._record(id), self._due], [id, token])

    def take(self, now: float, until: float, limit: int) -> list[Taken]:
        start, end = self._record(RunId("\0")).split("\0")
        rows = self._take([self._due], [now, until, limit, start, end])
        return [Taken(RunId(id.decode()), token.decode(), body, n) for id, token, body, n in rows]

    def postpone(self, id: RunId, token: str, due: float) -> None:
        self._postpone([self._record(id), self._due], [id, token, due])

    def quarantine(self, id: RunId, token: str, reason: str, keep: float) -> None:
        keys = [self._record(id), self._due, self._aside]
        self._quarantine(keys, [id, token, reason, _seconds(keep)])

    def quarantined(self) -> list[Quarantined]:
        rows: dict[bytes, bytes] = self._client.hgetall(self._aside)  # type: ignore[assignment]
        return [_quarantined(id, row) for id, row in sorted(rows.items())]

    def waiting(self) -> int:
        return int(self._client.zcard(self._due))

    def claim(self, id: RunId, owner: str, keep: float) -> Claim:
        key = f"{self._prefix}{{{id}}}:owner"
        has, is_new = self._claim([key], [owner, _seconds(keep)])
        return Claim(has.decode(), bool(is_new))

    def _record(self, id: RunId) -> str:
        return f"{self._prefix}{{{id}}}:outbox"

    def _script(self, name: str) -> Any:
        return self._client.register_script((_LUA / f"{name}.lua").read_text())


def _seconds(keep: float) -> int:
    return max(1, round(keep))


def _quarantined(id: bytes, row: bytes) -> Quarantined:
    reason, body = json.loads(row)
    return Quarantined(RunId(id.decode()), reason, body.encode())
