"""What the parts of the Redis store share: its keys, its scripts, its alarm."""

from __future__ import annotations

import math
import re
from binascii import unhexlify
from collections.abc import Callable, Sequence
from functools import lru_cache
from hashlib import blake2b
from importlib.resources import files
from struct import Struct
from time import sleep
from typing import Any

from celery_defer import guard
from celery_defer.commands import Commands, database_of, listed, server_of
from celery_defer.ids import RunId
from celery_defer.store.history import CODES, Fact
from celery_defer.store.redis.script import Script
from celery_defer.store.values import MOST_BYTES, Leased

_UUID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
# What one script writes; a thousand take a server up to 50 ms.
_MOST_FACTS = 500
_FACT = Struct("<cHIddHBHIII")
# What two bytes count, and four; the seconds are 136 years.
_MOST_ATTEMPTS, _LONGEST = 0xFFFF, 0xFFFF_FFFF
#: In seconds; a relay looks at least as often.
SOON = 60.0
_LUA = files("celery_defer.store.redis") / "lua"


class RedisClient:
    """Names the keys under *prefix*; those of one run have its id as their hash tag."""

    def __init__(self, client: Any, prefix: str, clock: Callable[[], float]) -> None:
        self._client = client
        #: The caller's clock.
        self._clock = clock
        self._prefix = prefix
        self._due = f"{prefix}due"
        self._waits = f"{prefix}waits"
        self._gates = f"{prefix}flow:due"
        self._deadlines = f"{prefix}deadlines"
        self._quarantined = f"{prefix}quarantine"
        self._channel = f"{prefix}nudge"
        connection = client.connection_pool.connection_kwargs
        self._server, self._database = server_of(connection), database_of(connection)
        self._note = self._script("now", "note", "tell")

    def _script(self, *parts: str) -> Script:
        """Register the script that consists of these files, in this order."""
        return Script(self._client, "".join(map(self._source, parts)))

    def _source(self, part: str) -> str:
        return (_LUA / f"{part}.lua").read_text()

    def _from_now(self, time: float) -> float:
        """Return in how many seconds it is *time* by the caller's clock.

        A script adds these to the server's time, so a clock that is wrong decides nothing.
        """
        return time - self._clock()

    def _report_args(self, report: Commands | None) -> list[Any]:
        """Return the arguments with which a script executes *report*; a 0 if it cannot."""
        if report is None or report.server != self._server:
            return [0]
        # Without a database there is no SELECT, which some users may not execute.
        database = "" if report.database == self._database else report.database
        count, *words = listed(report.rows)
        return [count, database, *words]

    def _write(
        self, script: Script, keys: Sequence[Any], args: Sequence[Any], facts: Sequence[Fact]
    ) -> bool:
        """Execute a script that writes *facts* too; return whether it has.

        Where they are many, those that do not go with it are written after it, and their loss is
        no error.
        """
        is_done = bool(script(keys, [*args, *self._fact_args(facts[:_MOST_FACTS])]))
        if is_done:
            guard.attempt(lambda: self._note_all(facts[_MOST_FACTS:]))
        return is_done

    def _note_all(self, facts: Sequence[Fact]) -> None:
        for start in range(0, len(facts), _MOST_FACTS):
            self._note([], self._fact_args(facts[start : start + _MOST_FACTS]))

    def _fact_args(self, facts: Sequence[Fact]) -> list[Any]:
        """Return the arguments with which a script writes *facts*."""
        return [len(facts), self._prefix, *map(_packed, facts)] if facts else [0]

    def _leases(self, rows: Sequence[list[Any]]) -> list[Leased]:
        return [self._leased(row) for row in rows]

    def _leased(self, row: list[Any]) -> Leased:
        """Return the record that a script has leased; read a large body in parts."""
        id, token, body, tries, is_cancelled, *left = row
        run = RunId(id.decode())
        if not isinstance(body, bytes):
            body = self._read(self._record(run), body)
        lives, late = map(float, left) if left else (math.inf, None)
        return Leased(run, token.decode(), body, tries, bool(is_cancelled), lives, late)

    def _read(self, key: str, start: int) -> bytes:
        parts = []
        while part := self._client.getrange(key, start, start + MOST_BYTES - 1):
            parts.append(part)
            start += len(part)
        return b"".join(parts)

    def _record_keys(self, id: RunId) -> list[str]:
        return [self._record(id), self._due, self._waits]

    def _record(self, id: RunId) -> str:
        return f"{self._prefix}{{{id}}}:outbox"

    def _history(self, id: RunId) -> str:
        return f"{self._prefix}{{{id}}}:history"

    def _owner(self, id: RunId) -> str:
        return f"{self._prefix}{{{id}}}:owner"

    def _run(self, id: RunId) -> str:
        return f"{self._prefix}{{{id}}}:run"

    def _events(self, digest: str) -> str:
        return f"{self._prefix}came:{digest}"

    def _watchers(self, digest: str) -> str:
        return f"{self._prefix}watch:{digest}"

    def _shapes(self, name: str) -> str:
        # A name may be long, and may have any characters.
        return f"{self._prefix}shapes:{blake2b(name.encode(), digest_size=12).hexdigest()}"


def _packed(fact: Fact) -> bytes:
    """Return a fact as note.lua takes it."""
    id, task, raw = fact.id.encode(), fact.task.encode(), _raw(fact.id)
    parts = [part for each in fact.experiments for part in (*each, "")]
    carried = "\0".join(parts).encode() if parts else b""
    head = _FACT.pack(
        CODES[fact.state].encode(), min(fact.attempt, _MOST_ATTEMPTS),
        min(seconds(fact.keep), _LONGEST),
        -1.0 if fact.deferred is None else max(fact.deferred, 0.0),
        -1.0 if fact.started is None else max(fact.started, 0.0),
        len(id), len(raw), len(task), len(fact.about), len(fact.told), len(carried),
    )  # fmt: skip
    tags = "\0".join(fact.tags).encode() if fact.tags else b""
    return b"".join((head, id, raw, task, fact.about, fact.told, carried, tags))


@lru_cache(maxsize=4096)
def _raw(id: RunId) -> bytes:
    """Return the 16 bytes of a UUID; nothing for another id."""
    return unhexlify(id.replace("-", "")) if _UUID.fullmatch(id) else b""


def seconds(keep: float) -> int:
    """Return *keep* as Redis takes it."""
    return max(1, round(keep))


def number(digest: str) -> int:
    """Return a number for the index of waits by their values; a double can hold it."""
    return int.from_bytes(blake2b(digest.encode(), digest_size=6).digest(), "big")


class RedisAlarm:
    """Goes off when a run parks, by a message on a channel that says in how many seconds it is due.

    It subscribes at the first wait, so that a process that forks before shares no connection.
    """

    def __init__(self, client: Any, channel: str, clock: Callable[[], float]) -> None:
        self._pubsub = client.pubsub()
        self._clock = clock
        self._channel = channel
        self._is_listening = False

    def wait(self, seconds: float) -> float | None:
        try:
            if not self._is_listening:
                self._pubsub.subscribe(self._channel)
                self._is_listening = True
            return self._due(self._pubsub.get_message(timeout=seconds))
        except Exception:  # Redis is away; the next look finds what is due
            self._is_listening = False
            self._pubsub.reset()
            sleep(min(seconds, 1.0))
            return None

    def close(self) -> None:
        self._pubsub.close()

    def _due(self, message: Any) -> float | None:
        if message is None:
            return None
        # It has subscribed, perhaps again, and may have missed messages: look at once.
        is_alarm = message["type"] == "message"
        return self._clock() + float(message["data"]) if is_alarm else 0.0
