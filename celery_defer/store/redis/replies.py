"""The replies of scripts, as values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from celery_defer.flow import Admission, Drop, Go, Later, Reason
from celery_defer.ids import RunId
from celery_defer.store.values import (
    Arrival,
    Emitted,
    FlowState,
    InLine,
    Leased,
    LimitState,
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
        why=state.get(b"why", b"").decode(),
        watched=_digests(state.get(b"watch", b"")),
        is_watched=not state.keys().isdisjoint((b"watch", b"begun", b"late")),
        has_begun=b"begun" in state,
    )


def _digests(keys: bytes) -> tuple[str, ...]:
    names = (key.rpartition(":") for key in keys.decode().split("\n"))
    digests = (digest for place, _, digest in names if place.endswith("watch"))
    return tuple(dict.fromkeys(digests))


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
    leases = tuple(leased(row) for row in reply[5:])
    more, repeat = bool(reply[2]), bool(reply[3])
    return Emitted(
        woken=reply[1], leased=leases, has_more=more, is_repeat=repeat, cancelled=reply[4]
    )


def sent(name: str, member: bytes, at: float) -> SentEvent:
    id, _, memo = member.partition(b"\n")
    return SentEvent(id.decode(), name, at, memo)


def quarantined(id: bytes, row: bytes) -> Quarantined:
    reason, _, body = row.partition(b"\0")
    return Quarantined(RunId(id.decode(errors="backslashreplace")), reason.decode(), body)


def admission(reply: list[bytes] | None) -> Admission | None:
    """Return what admit.lua says of a run that asks."""
    if not reply:
        return None
    kind, *rest = (part.decode() for part in reply)
    if kind == "go":
        return Go(float(rest[0]), _run(rest[1]))
    if kind == "later":
        return Later(rest[0], rest[1], float(rest[2]) if rest[2] else None, _run(rest[3]))
    return Drop(Reason(rest[0]), rest[1], rest[2], _run(rest[3]))


def _run(id: str) -> RunId | None:
    return RunId(id) if id else None


def flow_state(task: str, is_paused: int, held: int, rows: list[list[Any]]) -> FlowState:
    limits = (_limit_state(*row) for row in rows)
    return FlowState(task, bool(is_paused), held, tuple(sorted(limits, key=lambda it: it.name)))


def _limit_state(name: bytes, row: bytes, override: bytes, running: int, lines: int) -> LimitState:
    asked = _numbers(row.decode().split("\n")[1:]) if row else {}
    changed = _numbers(override.decode().split("\n")) if override else {}
    in_force = {"limit": 0.0, "period": 0.0, "burst": 0.0, **asked, **changed}
    return LimitState(
        name.decode(),
        int(in_force["limit"]),
        in_force["period"],
        int(in_force["burst"]),
        changed if override else None,
        running,
        lines,
    )


def _numbers(words: list[str]) -> dict[str, float]:
    pairs = zip(("limit", "period", "burst"), words, strict=True)
    return {name: float(word) for name, word in pairs if word}


def standing_in_line(row: list[Any] | None) -> InLine | None:
    if not row:
        return None
    gate, key, place, since = row
    return InLine(gate.decode(), key.decode(), place, float(since))
