"""A call as a message: addressed, and written on the pattern of one that Celery has made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from celery.utils.saferepr import saferepr
from pydantic_core import from_json

from celery_defer.ids import RunId
from celery_defer.model import HEADER, Call

__all__ = ["Draft", "Message", "Wire", "is_direct", "is_usual", "shown", "shows_as_usual"]

# Celery shows arguments up to this length (celery.app.amqp.AMQP.argsrepr_maxsize).
_REPR_SIZE = 1024
# What differs between two messages that go one way; then what does not. To a message that has
# more headers, from a tool or a later Celery, we could not write the next.
_OF_A_CALL = frozenset({"id", "root_id", "parent_id", "argsrepr", "kwargsrepr", HEADER})
_OF_A_WAY = frozenset(
    {"lang", "task", "shadow", "eta", "expires", "group", "group_index", "retries", "timelimit"}
    | {"origin", "ignore_result", "replaced_task_nesting", "stamped_headers", "stamps"}
)
# Properties that are the same for all messages of a way, or are written for each.
_PROPERTIES = frozenset(
    {"correlation_id", "reply_to", "delivery_mode", "delivery_info", "priority"}
    | {"body_encoding", "content_type", "content_encoding"}
)
_PLAIN_OPTIONS = frozenset({"headers", "parent_id", "root_id", "queue", "priority"})
_EMBED = b',{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]'


@dataclass(frozen=True, slots=True)
class Message:
    """A call, addressed: a task, its id and arguments, and the options of its publication."""

    call: Call
    id: RunId
    task: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: dict[str, Any]

    @property
    def is_plain(self) -> bool:
        """Whether it has nothing but what every deferred call's message has."""
        return self.options.keys() <= _PLAIN_OPTIONS and len(self.options["headers"]) == 1


@dataclass(frozen=True, slots=True)
class Wire:
    """A message as a broker gets it; *way* is what the one who took it down knows it by."""

    body: bytes
    headers: dict[str, Any]
    properties: dict[str, Any]
    way: Any


@dataclass(frozen=True, slots=True)
class Draft:
    """What the messages that go one way have in common."""

    wire: Wire

    @classmethod
    def of(cls, wire: Wire | None, message: Message, reply_to: str) -> Draft | None:
        """Make the draft of the one that Celery has made for *message*.

        None where another could not be made so: if ours for the same call is not the same.
        """
        if wire is None or not wire.headers.keys() <= (_OF_A_CALL | _OF_A_WAY):
            return None
        if not is_usual(wire.properties):
            return None
        ours = cls(wire).filled(message, reply_to)
        try:
            is_same = replace(ours, body=b"") == replace(wire, body=b"") and (
                from_json(ours.body) == from_json(wire.body)
            )
        except ValueError:  # another serializer, or a compressed one
            return None
        return cls(wire) if is_same else None

    def filled(self, message: Message, reply_to: str) -> Wire:
        """Write the message of another call."""
        options, size = message.options, len(message.call.payload)
        headers = {
            **self.wire.headers,
            "id": message.id,
            "root_id": options["root_id"],
            "parent_id": options["parent_id"],
            "argsrepr": shown(message.args, size),
            "kwargsrepr": shown(message.kwargs, size),
            **options["headers"],
        }
        properties = {
            **self.wire.properties,
            "correlation_id": message.id,
            "reply_to": reply_to,
        }
        # The payload is what Celery would make of the arguments: [args, kwargs].
        body = message.call.payload.rstrip()[:-1] + _EMBED
        return Wire(body, headers, properties, self.wire.way)


def is_usual(properties: Mapping[str, Any]) -> bool:
    """Whether a message has no property but those that we know how to write."""
    return properties.keys() <= _PROPERTIES


def is_direct(queue: Any) -> bool:
    """Whether a message for *queue* goes into that one alone, whatever is bound later."""
    exchange = getattr(queue, "exchange", None)
    return getattr(exchange, "type", None) == "direct"


def shows_as_usual(amqp: Any) -> bool:
    """Whether an app shows arguments up to the usual length; some apps hide them."""
    return bool(amqp.argsrepr_maxsize == amqp.kwargsrepr_maxsize == _REPR_SIZE)


def shown(value: object, size: int) -> str:
    """Answer what Flower shows of arguments whose JSON has *size* bytes."""
    return repr(value) if size < _REPR_SIZE else saferepr(value, _REPR_SIZE)
