"""A parked run as the outbox keeps it: all that its message needs to be published once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kombu.utils import json
from pydantic import TypeAdapter, ValidationError

from celery_defer.errors import RecordError
from celery_defer.ids import RunId
from celery_defer.model import HEADER

__all__ = ["WAKE", "Parked", "Wake", "is_parked", "pack", "unpack"]

#: The header of a message that wakes a run. Celery keeps it over retries and redeliveries.
WAKE = "celery_defer_wake"

_START = b'{"parked":'


@dataclass(frozen=True, slots=True)
class Parked:
    """A run that has left its worker; ``turn`` is the one that its wake-up begins.

    ``options`` are those that Celery would retry the run with. ``child`` is the run whose end
    it waits for, and the task of that run, where it has invoked one.
    """

    parked: RunId
    task: str
    turn: int
    args: Sequence[Any] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    child: tuple[str, str] | None = None
    headers: Mapping[str, Any] = field(default_factory=dict)
    hostname: str | None = None


@dataclass(frozen=True, slots=True)
class Wake:
    """What a wake-up's message says: the turn that it begins, and the publication's token."""

    turn: int
    token: str

    @classmethod
    def open(cls, request: Mapping[str, Any]) -> Wake | None:
        """Read the header of a task request; None where the run was never parked."""
        header = request.get(WAKE)
        if not isinstance(header, Mapping):
            return None
        turn, token = header.get("turn"), header.get("token")
        return cls(turn, token) if isinstance(turn, int) and isinstance(token, str) else None

    def seal(self) -> dict[str, Any]:
        """Answer the header."""
        return {"turn": self.turn, "token": self.token}


# A million runs may be parked: what is empty is left out, and what goes without saying.
_ALWAYS = frozenset({"parked", "task", "turn"})
# As celery.app.amqp.AMQP.as_task_v2 has them.
_OPTIONS = {"retries": 0, "replaced_task_nesting": 0, "ignore_result": False}
# As celery_defer.envelope reads them.
_HEADER = {"when": "success", "experiment": None, "depth": 1}

_adapter = TypeAdapter(Parked)


def is_parked(body: bytes) -> bool:
    """Whether a record in the outbox is that of a parked run."""
    return body.startswith(_START)


def pack(parked: Parked) -> bytes:
    """Answer *parked* as JSON, with the types that Celery's own JSON carries.

    Raises what kombu raises for arguments that have no JSON, as those of a pickle may.
    """
    known = {
        "parked": parked.parked,
        "task": parked.task,
        "turn": parked.turn,
        "args": parked.args,
        "kwargs": parked.kwargs,
        "options": _lean_options(parked.options),
        "headers": _lean_headers(parked.headers),
        "hostname": parked.hostname,
        "child": parked.child,
    }
    return bytes(json.dumps(_without_empty(known), separators=(",", ":")).encode())


def _without_empty(known: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in known.items() if value or name in _ALWAYS}


def _lean_options(options: Mapping[str, Any]) -> dict[str, Any]:
    lean = _without(_OPTIONS, options)
    if lean.get("root_id") == lean.get("parent_id"):
        lean.pop("root_id", None)
    return lean


def _lean_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    own = headers.get(HEADER)
    if not isinstance(own, Mapping):
        return dict(headers)
    lean = _without(_HEADER, own)
    lean.pop("token", None)  # the wake-up has one of its own
    return {**headers, HEADER: lean}


def _without(usual: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in known.items() if name not in usual or value != usual[name]
    }


def unpack(body: bytes) -> Parked:
    """Read a parked run; raise RecordError for what ``pack`` cannot have made."""
    try:
        read = _adapter.validate_python(json.loads(body))
        return replace(
            read, options=_whole_options(read.options), headers=_whole_headers(read.headers)
        )
    except (ValidationError, ValueError, TypeError, RecursionError) as error:
        raise RecordError(f"the parked run cannot be read: {error}") from error


def _whole_options(options: Mapping[str, Any]) -> dict[str, Any]:
    parent = options.get("parent_id")
    return {"root_id": parent, **options} if parent else dict(options)


def _whole_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    own = headers.get(HEADER)
    if not isinstance(own, Mapping):
        return dict(headers)
    return {**headers, HEADER: {**_HEADER, **own}}
