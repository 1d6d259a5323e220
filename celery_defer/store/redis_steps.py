"""The part of the Redis store that knows of runs with steps, and of events."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from time import sleep
from typing import Any

from celery_defer.ids import RunId
from celery_defer.store.protocol import Claim, Taken
from celery_defer.store.steps import (
    DRIFT,
    NO_SHAPE,
    Arrival,
    Emitted,
    Parking,
    Recalled,
    Resumed,
    SentEvent,
    Subscription,
    Told,
    Verdict,
)

__all__ = ["RedisNudges", "RedisSteps"]

logger = logging.getLogger(__name__)

# A relay looks for what is due at least as often.
_SOON = 60.0


class RedisSteps:
    """Keeps what a run remembers in one hash, beside its record in the outbox."""

    _client: Any
    _prefix: str
    _due: str
    _waits: str

    def _script(self, name: str, *more: str) -> Any:
        raise NotImplementedError

    def _record(self, id: RunId) -> str:
        raise NotImplementedError

    def _owner(self, id: RunId) -> str:
        raise NotImplementedError

    def _prepare(self) -> None:
        self._nudge = f"{self._prefix}nudge"
        self._recall = self._script("recall")
        self._resume = self._script("resume")
        self._remember = self._script("remember")
        self._park = self._script("record", "receive", "park")
        self._give_up = self._script("receive", "give_up")
        self._cancel = self._script("record", "cancel")
        self._emit = self._script("record", "emit")
        self._arrive = self._script("record", "arrive")

    def recall(self, id: RunId, now: float | None, keep: float) -> Recalled:
        first = "" if now is None else now
        return _recalled(self._recall([self._run(id)], [first, seconds(keep)]))

    def resume(
        self, id: RunId, turn: int, owner: str, keep: float, told: Told | None = None
    ) -> Resumed:
        telling = self._telling(told) if told else []
        answer = self._resume([self._run(id)], [turn, owner, seconds(keep), *telling])
        claim = Claim(answer[0].decode(), bool(answer[1]))
        return Resumed(claim, _recalled(answer[2]), has_told=bool(telling) and claim.is_mine)

    def remember(self, id: RunId, memos: Mapping[str, bytes], keep: float) -> bytes:
        pairs = [part for pair in memos.items() for part in pair]
        answer: bytes = self._remember([self._run(id)], [seconds(keep), *pairs])
        return answer

    def park(self, id: RunId, parking: Parking, now: float, keep: float) -> Arrival:
        keys = [self._run(id), self._owner(id), self._record(id), self._due, self._waits]
        keys += [self._nudge]
        args: list[Any] = [id, parking.turn, parking.step, parking.note, parking.token]
        args += [parking.body, parking.due, seconds(keep), now + _SOON]
        if event := parking.subscription:
            keys += [self._came(event.digest), self._shapes(event.name)]
            args += [event.digest, _number(event.digest), event.shape, event.since, now + DRIFT]
            args += [int(parking.early is not None)]
            args += [part for each in parking.early or () for part in (each.id, each.memo)]
        return _arrival(self._park(keys, args))

    def give_up(
        self, id: RunId, step: str, wait: Subscription, nothing: bytes, keep: float
    ) -> bytes:
        args = [step, wait.since, nothing, seconds(keep)]
        memo: bytes = self._give_up([self._run(id), self._came(wait.digest)], args)
        return memo

    def cancel(
        self, id: RunId, keep: float, until: float, *, only_parked: bool = False
    ) -> bytes | None:
        keys = [self._run(id), self._record(id), self._due, self._waits]
        answer: bytes | None = self._cancel(keys, [id, seconds(keep), int(only_parked), until])
        return answer

    def next_due(self) -> float | None:
        first = self._client.zrange(self._due, 0, 0, withscores=True)
        return float(first[0][1]) if first else None

    def nudges(self) -> RedisNudges:
        return RedisNudges(self._client, self._nudge)

    def emit(
        self,
        event: SentEvent,
        digests: Mapping[str, str],
        *,
        now: float,
        until: float,
        limit: int,
        keep: float,
    ) -> Emitted:
        wanted = [digest for digest in dict.fromkeys(digests.values()) if digest]
        keys = [self._due, self._waits, self._shapes(event.name)]
        keys += [f"{self._prefix}event-id:{event.id}", *map(self._came, wanted)]
        known = "\n".join(shape for shape in digests if shape != NO_SHAPE)
        start, end = self._record(RunId("\0")).split("\0")
        _, end_of_run = self._run(RunId("\0")).split("\0")
        args = [event.id, event.memo, event.at, now - keep, seconds(keep), now, until, limit]
        args += [known, start, end, end_of_run, int(event.is_named)]
        args += [part for digest in wanted for part in (digest, _number(digest))]
        return _emitted(self._emit(keys, args))

    def past(self, name: str, digest: str, since: float, before: float) -> list[SentEvent]:
        rows = self._client.zrangebyscore(self._came(digest), since, f"({before}", withscores=True)
        return [_sent(name, member, at) for member, at in rows]

    def arrive(self, id: RunId, step: str, now: float, until: float) -> Taken | None:
        keys = [self._record(id), self._due, self._waits]
        row = self._arrive(keys, [id, step, now, until])
        return _taken(row) if row else None

    def _telling(self, told: Told) -> list[Any]:
        """Answer the arguments that let a script write *told*; none if it cannot reach there."""
        ours = self._client.connection_pool.connection_kwargs
        if address(told.connection) is None or address(told.connection) != address(ours):
            return []
        database = int(told.connection.get("db") or 0)
        return [database, round(told.expires or 0), told.key, told.value]

    def _run(self, id: RunId) -> str:
        return f"{self._prefix}{{{id}}}:run"

    def _came(self, digest: str) -> str:
        return f"{self._prefix}came:{digest}"

    def _shapes(self, name: str) -> str:
        # A name may be long, and have any characters.
        return f"{self._prefix}shapes:{blake2b(name.encode(), digest_size=12).hexdigest()}"


class RedisNudges:
    """Listens to the channel that each parked run's due time goes through.

    From the first wait on, so that a process that forks until then shares no connection.
    """

    def __init__(self, client: Any, channel: str) -> None:
        self._pubsub = client.pubsub()
        self._channel = channel
        self._is_listening = False

    def wait(self, seconds: float) -> float | None:
        try:
            if not self._is_listening:
                self._pubsub.subscribe(self._channel)
                self._is_listening = True
            return _due(self._pubsub.get_message(timeout=seconds))
        except Exception:  # Redis is away: what it would tell of is found at the next look
            self._is_listening = False
            self._pubsub.reset()
            sleep(min(seconds, 1.0))
            return None

    def close(self) -> None:
        self._pubsub.close()


def _due(message: Any) -> float | None:
    if message is None:
        return None
    # Listening begins here, or begins again: what was told before is due for a look.
    return float(message["data"]) if message["type"] == "message" else 0.0


def address(connection: Mapping[str, Any]) -> tuple[object, ...] | None:
    """Where a connection leads; None where a sentinel says so each time."""
    if "path" in connection:
        return connection["path"], connection.get("username")
    if "host" in connection:
        return connection["host"], connection.get("port"), connection.get("username")
    return None


def seconds(keep: float) -> int:
    """Answer *keep* as Redis takes it."""
    return max(1, round(keep))


def _recalled(rows: Iterable[bytes]) -> Recalled:
    fields = iter(rows)
    state: dict[bytes, bytes] = {}
    parts: dict[bytes, dict[str, bytes]] = {b"m:": {}, b"w:": {}}
    for name, value in zip(fields, fields, strict=True):
        parts.get(name[:2], {})[name[2:].decode()] = value
        state[name] = value
    return Recalled(
        turn=int(state.get(b"turn", 0)),
        since=float(state.get(b"since", 0)),
        memos=parts[b"m:"],
        waits=parts[b"w:"],
        is_cancelled=b"cancelled" in state,
    )


def _arrival(answer: list[bytes]) -> Arrival:
    verdict = Verdict(answer[0].decode())
    if verdict is Verdict.ARRIVED:
        return Arrival(verdict, memo=answer[1])
    if verdict is Verdict.LOOK:
        return Arrival(verdict, known=float(answer[1]))
    return Arrival(verdict)


def _number(digest: str) -> int:
    """What sorts waits by their values; a double holds it."""
    return int.from_bytes(blake2b(digest.encode(), digest_size=6).digest(), "big")


def _emitted(answer: list[Any]) -> Emitted:
    if answer[0] == b"shapes":
        return Emitted(unknown_shapes=[shape.decode() for shape in answer[1:]])
    if answer[0] == b"repeated":
        return Emitted()
    taken = tuple(_taken(row) for row in answer[3:])
    return Emitted(woken=answer[1], taken=taken, has_more=bool(answer[2]))


def _taken(row: list[Any]) -> Taken:
    id, token, body, tries = row
    return Taken(RunId(id.decode()), token.decode(), body, tries)


def _sent(name: str, member: bytes, at: float) -> SentEvent:
    id, _, memo = member.partition(b"\n")
    return SentEvent(id.decode(), name, at, memo)
