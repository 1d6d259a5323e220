"""The replies of scripts, as values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from celery_defer.ids import RunId
from celery_defer.store.values import (
    Arrival,
    Emitted,
    Leased,
    Quarantined,
    Recalled,
    SentEvent,
    Verdict,
)


def recalled(rows: Iterable[bytes]) -> Recalled:
    fields = iter(rows)
    state: dict[bytes, bytes] = {}
    parts: dict[bytes, dict[str, bytes]] = {b"m:": {}, b"w:": {}, b"t:": {}}
    for name, value in zip(fields, fields, strict=True):
        parts.get(name[:2], {})[name[2:].decode()] = value
        state[name] = value
    return Recalled(
        turn=int(state.get(b"turn", 0)),
        since=float(state.get(b"since", 0)),
        memos=parts[b"m:"],
        waits=parts[b"w:"],
        spans=parts[b"t:"],
        is_cancelled=b"cancelled" in state,
        is_parked=b"turn" in state and b"owner" not in state,
        ending=state.get(b"end", b""),
    )


def arrival(reply: list[bytes]) -> Arrival:
    verdict = Verdict(reply[0].decode())
    if verdict is Verdict.ARRIVED:
        return Arrival(verdict, memo=reply[1])
    if verdict is Verdict.LOOK:
        return Arrival(verdict, known_since=float(reply[1]), since=float(reply[2]))
    return Arrival(verdict)


def emitted(reply: list[Any], leased: Callable[[list[Any]], Leased]) -> Emitted:
    if reply[0] == b"shapes":
        return Emitted(unknown_shapes=[shape.decode() for shape in reply[1:]])
    if reply[0] == b"repeated":
        return Emitted(is_repeat=True)
    leases = tuple(leased(row) for row in reply[4:])
    more, repeat = bool(reply[2]), bool(reply[3])
    return Emitted(woken=reply[1], leased=leases, has_more=more, is_repeat=repeat)


def sent(name: str, member: bytes, at: float) -> SentEvent:
    id, _, memo = member.partition(b"\n")
    return SentEvent(id.decode(), name, at, memo)


def quarantined(id: bytes, row: bytes) -> Quarantined:
    reason, _, body = row.partition(b"\0")
    return Quarantined(RunId(id.decode(errors="backslashreplace")), reason.decode(), body)
