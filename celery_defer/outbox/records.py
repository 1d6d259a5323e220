"""The records of the outbox: four kinds, each with a tag and a version before its body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from celery_defer import guard
from celery_defer.errors import OptionError, RecordError, UnknownRecordError
from celery_defer.ids import RunId
from celery_defer.model import Call, Options, Outcome
from celery_defer.outbox import gathered, parked
from celery_defer.outbox.gathered import GatheredCalls
from celery_defer.outbox.parked import ParkedRun
from celery_defer.store import SentEvent

#: Seconds for which a record of calls is kept after relays have given it up, which they log.
SPARE = 86_400.0


@dataclass(frozen=True, slots=True)
class DeferredCalls:
    """The calls that a run has deferred.

    The ``verdict`` decides which calls are published; without one, the stored result of the run
    does. ``unknown_at`` is for how many seconds more the record was kept when a relay first had a
    call whose task it does not know.
    """

    parent: RunId
    root: RunId
    task: str
    depth: int
    verdict: Outcome | None
    at: float
    inherited: Mapping[str, Any]
    calls: tuple[Call, ...]
    unknown_at: float | None = None

    @property
    def invocation(self) -> Call | None:
        """The call that starts an invoked run, which has a record of its own."""
        return next((call for call in self.calls if call.step), None)


@dataclass(frozen=True, slots=True)
class FanOut:
    """An event that has not woken all waiting runs yet."""

    event: SentEvent


Record = DeferredCalls | GatheredCalls | ParkedRun | FanOut

# One byte for the kind, one for the version of its body. A relay leaves a later version alone:
# while two releases of the package run side by side, workers of the later one handle it.
_VERSION = b"\x01"
_CALLS, _GATHERED = b"C" + _VERSION, b"B" + _VERSION
_PARKED, _FAN_OUT = b"P" + _VERSION, b"F" + _VERSION
_KINDS = frozenset(tag[:1] for tag in (_CALLS, _GATHERED, _PARKED, _FAN_OUT))

_calls = TypeAdapter(DeferredCalls)
_event = TypeAdapter(SentEvent)
_arguments = TypeAdapter(tuple[list[Any], dict[str, Any]])


def pack(record: Record) -> bytes:
    """Return the body of a record."""
    match record:
        case DeferredCalls():
            return _CALLS + _pack_calls(record)
        case GatheredCalls():
            return _GATHERED + gathered.pack(record)
        case ParkedRun():
            return _PARKED + parked.pack(record)
        case FanOut():
            return _FAN_OUT + _event.dump_json(record.event)


def unpack(id: RunId, body: bytes) -> Record:
    """Read the record with this id.

    Raises RecordError if ``pack`` did not write it, and UnknownRecordError for a later version.
    """
    tag, rest = body[:2], body[2:]
    if tag == _PARKED:
        return parked.unpack(id, rest)
    if tag == _GATHERED:
        return gathered.unpack(id, rest)
    try:
        if tag == _CALLS:
            return _unpack_calls(rest)
        if tag == _FAN_OUT:
            return FanOut(_event.validate_json(rest))
    except ValidationError as error:
        problems = error.errors(include_url=False, include_input=False)
        reason = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in problems)
        raise RecordError(f"the record cannot be read: {reason}") from error
    if tag[:1] in _KINDS and tag[1:] > _VERSION:
        raise UnknownRecordError
    raise RecordError(f"the record cannot be read: it begins with {body[:20]!r}")


def head(task: str, options: Options) -> bytes:
    """Return how the record of a batch begins, before the lines of its calls."""
    return _GATHERED + gathered.head(task, options)


def check(call: Call) -> None:
    """Raise OptionError for a call that would make its whole record unreadable."""
    with guard.translated(
        lambda error: OptionError(f"the options of {call.task} are not JSON: {error}")
    ):
        from_json(to_json({"calls": [call.as_json()]}))  # nested as in the record


def is_parked(body: bytes) -> bool:
    """Whether a body is that of a parked run, even one that cannot be read."""
    return body[:1] == _PARKED[:1]


def _pack_calls(record: DeferredCalls) -> bytes:
    return to_json(
        {
            "parent": record.parent,
            "root": record.root,
            "task": record.task,
            "depth": record.depth,
            "verdict": record.verdict and record.verdict.value,
            "at": record.at,
            "inherited": record.inherited,
            "calls": [call.as_json() for call in record.calls],
            "unknown_at": record.unknown_at,
        }
    )


def _unpack_calls(body: bytes) -> DeferredCalls:
    record = _calls.validate_json(body)
    for call in record.calls:
        _arguments.validate_json(call.payload)
    return record
