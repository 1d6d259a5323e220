"""What scripts answer, as values."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from celery_defer.ids import RunId
from celery_defer.store.events import Emitted, SentEvent
from celery_defer.store.protocol import Quarantined, Taken
from celery_defer.store.runs import Arrival, Recalled, Verdict

__all__ = ["arrival", "emitted", "quarantined", "recalled", "sent", "taken"]


def recalled(rows: Iterable[bytes]) -> Recalled:
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


def arrival(answer: list[bytes]) -> Arrival:
    verdict = Verdict(answer[0].decode())
    if verdict is Verdict.ARRIVED:
        return Arrival(verdict, memo=answer[1])
    if verdict is Verdict.LOOK:
        return Arrival(verdict, known=float(answer[1]))
    return Arrival(verdict)


def emitted(answer: list[Any]) -> Emitted:
    if answer[0] == b"shapes":
        return Emitted(unknown_shapes=[shape.decode() for shape in answer[1:]])
    if answer[0] == b"repeated":
        return Emitted()
    leased = tuple(taken(row) for row in answer[3:])
    return Emitted(woken=answer[1], taken=leased, has_more=bool(answer[2]))


def taken(row: list[Any]) -> Taken:
    id, token, body, tries = row
    return Taken(RunId(id.decode()), token.decode(), body, tries)


def sent(name: str, member: bytes, at: float) -> SentEvent:
    id, _, memo = member.partition(b"\n")
    return SentEvent(id.decode(), name, at, memo)


def quarantined(id: bytes, row: bytes) -> Quarantined:
    reason, _, body = row.partition(b"\0")
    return Quarantined(RunId(id.decode()), reason.decode(), body)
