"""A parked run: all that is needed to publish its message again."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any

from pydantic import TypeAdapter

from celery_defer import guard
from celery_defer.encoding import dumps, lengthen, loads, shorten
from celery_defer.errors import RecordError
from celery_defer.ids import RunId
from celery_defer.model import HEADER

# A million runs may be parked, and what is in this dictionary takes no space in their bodies. It is
# needed to read them: another dictionary is another version of the record.
_COMMON = (
    b'{"__type__":"datetime","__value__":"+00:00"}"hostname":"celery@"child":["args":[["stamps":{"stamped_headers":["retries":"chord":{'
    b'"chain":["link":["link_error":["subtask_type":null,"immutable":false,"task_id":"'
    b'"soft_time_limit":"time_limit":"priority":"exchange":"routing_key":"group_index":'
    b'"group_id":"reply_to":"headers":{"celery_defer":{"id":"follow-up","parent":"tasks.'
    b'"when":"success","at":1790000000.,"depth":2,"token":"}},"hostname":"celery@worker"}'
    b'00Z","T12:00:00","2026-11-20T","user_id":"order_id":"kwargs":{"options":{"root_id":"'
    b'"parent_id":"queue":"celery"},"turn":1,{"task":"tasks.'
)
# Without zlib's header and checksum: reading the JSON detects errors.
_RAW = -zlib.MAX_WBITS


class HeldAt(IntEnum):
    """Where a limit of its function holds a run back, or is to be asked as of a run that starts."""

    NOWHERE = 0
    #: Before an attempt of its task.
    START = 1
    #: Before it goes on after a wait at a step.
    STEP = 2
    #: It is not held, but restarted, which is an attempt of its task.
    RESTART = 3

    @property
    def starts(self) -> bool:
        """Whether what comes next is the start of an attempt."""
        return self in (HeldAt.START, HeldAt.RESTART)

    @property
    def is_held(self) -> bool:
        """Whether it stands in line, and is woken when it has a place."""
        return self in (HeldAt.START, HeldAt.STEP)


@dataclass(frozen=True, slots=True)
class ParkedRun:
    """A parked run; ``turn`` is the one that its wake-up begins.

    ``options`` are those of a Celery retry. ``child`` has the id and the task of the invoked run
    that it waits for, if any. ``held`` says whether it waits for a place, instead of at a step.
    """

    id: RunId
    task: str
    turn: int
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    child: tuple[str, str] | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    hostname: str | None = None
    held: HeldAt = HeldAt.NOWHERE


# Empty fields and usual values are left out.
_ALWAYS = frozenset({"task", "turn"})
# As celery.app.amqp.AMQP.as_task_v2 has them.
_OPTIONS = {"retries": 0, "replaced_task_nesting": 0, "ignore_result": False}
# As celery_defer.run.headers reads them.
_HEADER = {"when": "success", "experiment": None, "depth": 1}

_adapter = TypeAdapter(ParkedRun)


def pack(run: ParkedRun) -> bytes:
    """Return *run*, without its id, as compressed JSON with the types of Celery's own JSON.

    Raises kombu's error for arguments that are not JSON.
    """
    fields = {
        "task": run.task,
        "turn": run.turn,
        "args": run.args,
        "kwargs": run.kwargs,
        "options": _lean_options(run.id, run.options),
        "headers": _lean_headers(run.headers),
        "hostname": run.hostname,
        "child": run.child,
        "held": int(run.held),
    }
    plain = dumps(_without_empty(fields), separators=(",", ":")).encode()
    lean = shorten(plain)
    packer = zlib.compressobj(wbits=_RAW, zdict=_COMMON)
    return packer.compress(lean) + packer.flush()


def _without_empty(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value or name in _ALWAYS}


def _lean_options(id: RunId, options: Mapping[str, Any]) -> dict[str, Any]:
    lean = _without(_OPTIONS, options)
    if lean.get("root_id") == (lean.get("parent_id") or id):
        lean.pop("root_id", None)
    return lean


def _lean_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    header = headers.get(HEADER)
    if not isinstance(header, Mapping):
        return dict(headers)
    lean = _without(_HEADER, header)
    lean.pop("token", None)  # a wake-up has its own
    return {**headers, HEADER: lean}


def _without(usual: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in values.items() if name not in usual or value != usual[name]
    }


def unpack(id: RunId, body: bytes) -> ParkedRun:
    """Read the parked run with this id; raise RecordError if ``pack`` did not write it."""
    # Each type in Celery's JSON may refuse its value.
    with guard.translated(lambda error: RecordError(f"the parked run cannot be read: {error!r}")):
        lean = zlib.decompressobj(_RAW, _COMMON).decompress(body)
        run = _adapter.validate_python({**loads(lengthen(lean)), "id": id})
        return replace(
            run, options=_whole_options(id, run.options), headers=_whole_headers(run.headers)
        )


def _whole_options(id: RunId, options: Mapping[str, Any]) -> dict[str, Any]:
    return {"root_id": options.get("parent_id") or id, **options}


def _whole_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    header = headers.get(HEADER)
    if not isinstance(header, Mapping):
        return dict(headers)
    return {**headers, HEADER: {**_HEADER, **header}}
