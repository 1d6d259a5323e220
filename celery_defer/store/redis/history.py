"""The histories of the Redis store."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from celery_defer.commands import Commands
from celery_defer.ids import RunId
from celery_defer.store.history import CODES, Fact, History, Lists, Place, RunState
from celery_defer.store.redis.client import RedisClient

# As note.lua writes it.
_HEAD = struct.Struct("<BBHddddI")
_VERSION = 1
_STATES = {code: state for state, code in CODES.items()}


class RedisHistories(RedisClient):
    """Keeps a history as one string, a log of each task's runs, and lists by state and tag."""

    def facts(self, facts: Sequence[Fact]) -> Commands | None:
        if not facts or not self._server:
            return None
        return Commands(self._server, self._database, [self._fact_args(facts)])

    def note(self, facts: Sequence[Fact]) -> None:
        self._note_all(facts)

    def histories(self, ids: Sequence[RunId]) -> list[History | None]:
        bodies: list[Any] = self._client.mget(map(self._history, ids)) if ids else []
        return [_history(id, body) for id, body in zip(ids, bodies, strict=True)]

    def tasks(self) -> list[str]:
        return [name.decode() for name in self._client.zrevrange(f"{self._prefix}tasks", 0, -1)]

    def listed(
        self, lists: Lists, *, since: float = 0.0, before: Place | None = None, limit: int
    ) -> list[Place]:
        is_log = not lists.states and lists.tag is None
        with self._client.pipeline(transaction=False) as pipeline:
            # Runs of other tasks may have the same place, so that one is asked for again.
            for key in self._lists(lists):
                if is_log:
                    last = f"{round(before.at * 1000)}-{before.number}" if before else "+"
                    pipeline.xrevrange(key, last, round(since * 1000) or "-", limit + 1)
                else:
                    highest, lowest = before.at if before else "+inf", since or "-inf"
                    pipeline.zrevrangebyscore(key, highest, lowest, 0, limit + 1, withscores=True)
            replies = pipeline.execute()
        read = _logged if is_log else _ranked
        places = (place for reply in replies for place in read(reply))
        later = sorted((each for each in places if before is None or each < before), reverse=True)
        return later[:limit]

    def counts(self, tasks: Sequence[str], states: Sequence[RunState]) -> list[int]:
        with self._client.pipeline(transaction=False) as pipeline:
            for task in tasks:
                for state in states:
                    pipeline.zcard(self._list(state, task))
            return [int(count) for count in pipeline.execute()]

    def _lists(self, lists: Lists) -> Iterable[str]:
        if lists.tag is not None:
            return [f"{self._prefix}tag:{lists.tag}"]
        if not lists.states:
            return [f"{self._prefix}log:{task}" for task in lists.tasks]
        return [self._list(state, task) for state in lists.states for task in lists.tasks]

    def _list(self, state: RunState, task: str) -> str:
        return f"{self._prefix}runs:{CODES[state]}:{task}"


def _logged(entries: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> Iterable[Place]:
    for entry, fields in entries:
        at, _, number = entry.partition(b"-")
        yield Place(int(at) / 1000, int(number), _id(fields))


def _id(fields: dict[bytes, bytes]) -> RunId:
    raw = fields.get(b"u")
    return RunId(str(UUID(bytes=raw)) if raw else fields[b"i"].decode())


def _ranked(entries: Iterable[tuple[bytes, float]]) -> Iterable[Place]:
    for id, at in entries:
        yield Place(at, 0, RunId(id.decode()))


def _history(id: RunId, body: bytes | None) -> History | None:
    """Read a history; None if there is none, or one of a later version of the package."""
    if body is None or len(body) < _HEAD.size:
        return None
    version, state, attempts, deferred, published, started, finished, size = _HEAD.unpack_from(body)
    if version != _VERSION or chr(state) not in _STATES:
        return None
    end = _HEAD.size + size
    return History(
        id, _STATES[chr(state)], attempts, deferred, published, started, finished,
        body[_HEAD.size : end], body[end:],
    )  # fmt: skip
