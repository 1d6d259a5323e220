"""Messages written from a template: a message of the same kind that Celery has made."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from celery.app.routes import MapRoute
from celery.app.task import Task
from celery.signals import after_task_publish, before_task_publish, task_sent
from celery.utils.saferepr import saferepr
from pydantic_core import from_json

from celery_defer.broker.batch import Batch
from celery_defer.broker.message import Message, Wire
from celery_defer.current import extension_of
from celery_defer.encoding import dumps

# Celery shows arguments up to this length (celery.app.amqp.AMQP.argsrepr_maxsize).
_REPR_SIZE = 1024
# And down to this depth of brackets (task_repr_maxlevels).
_REPR_LEVELS = 3
# The options that define a kind, but the address for replies, which is written for each message.
# Celery makes a message with any other.
_OF_A_KIND = frozenset(
    {"retries", "reply_to", "replaced_task_nesting", "origin", "ignore_result", "priority"}
    | {"queue", "exchange", "routing_key", "time_limit", "soft_time_limit", "shadow"}
    | {"serializer", "compression", "delivery_mode"}
)
# Properties that are the same for all messages of a kind, or are written for each.
_PROPERTIES = frozenset(
    {"correlation_id", "reply_to", "delivery_mode", "delivery_info", "priority"}
    | {"body_encoding", "content_type", "content_encoding"}
)
# Types that JSON and Celery's JSON write alike.
_PLAIN = frozenset({str, int, float, bool, type(None)})
_EMBED = b',{"callbacks":null,"errbacks":null,"chain":null,"chord":null}]'
# A limit, because queues may be named after tenants or days.
_MOST_KINDS = 1_000
_CELERYS_OWN = ("celery.app.task", "celery.app.base", "kombu.messaging")


@dataclass(slots=True)
class _AppTemplates:
    """The templates of an app on one connection."""

    default_queue: str
    #: Whether messages look as Celery makes them by default.
    is_usual: bool
    #: For each kind, a message that Celery has made.
    templates: dict[Hashable, Wire] = field(default_factory=dict)


class TemplateSet:
    """The templates of a batch's connection; none if a template could make a difference."""

    def __init__(self, app: Any, batch: Batch) -> None:
        self._batch = batch
        self._shared: _AppTemplates | None = None
        if extension_of(app).settings.fast_messages and not _is_watched(batch):
            router = app.amqp.router
            shared = batch.templates.get(router)
            if shared is None:
                shared = _AppTemplates(app.conf.task_default_queue, _is_usual(app))
                batch.templates[router] = shared
            self._shared = shared if shared.is_usual else None

    def kind_of(self, message: Message) -> Hashable | None:
        """Return what a message has in common with its template; None if there can be none."""
        options, target = message.options, message.target
        if self._shared is None or not options.keys() <= _OF_A_KIND:
            return None
        if target is not None and type(target).shadow_name is not Task.shadow_name:
            return None
        if len(message.headers) > 1 and not _is_plain(message.headers):  # besides the package's
            return None
        with suppress(TypeError):  # an option that is neither text nor number
            return (
                self._shared.default_queue,
                message.task,
                None if target is None else target.ignore_result,
                frozenset(option for option in options.items() if option[0] != "reply_to"),
                "reply_to" in options,
                frozenset(message.headers),
            )
        return None

    def find(self, kind: Hashable | None) -> Wire | None:
        return self._shared.templates.get(kind) if self._shared is not None else None

    def learn(self, kind: Hashable, message: Message, headers: Set[str], queue: Any) -> None:
        """Make a template of the message that Celery has just made, if ``write`` makes the same.

        *headers* are those that Celery was to write; a tool may have added more.
        """
        if self._shared is None or not _is_one_queue(queue):
            return
        if len(self._shared.templates) > _MOST_KINDS:
            self._shared.templates.clear()
        with suppress(Exception):  # the message is sent; the next is then made by Celery too
            wire = self._batch.last()
            if wire is None or wire.headers.keys() != headers:
                return
            if wire.properties.keys() <= _PROPERTIES and _is_same(wire, write(message, wire)):
                self._shared.templates[kind] = wire


def write(message: Message, template: Wire) -> Wire:
    """Write *message*: the one place that has the format of Celery's messages.

    It does what celery.app.amqp.AMQP.as_task_v2 does.
    """
    payload = message.payload.rstrip() or dumps((message.args, message.kwargs)).encode()
    size = len(payload)
    headers = {
        **template.headers,
        "id": message.id,
        "root_id": message.root_id,
        "parent_id": message.parent_id,
        "argsrepr": _shown(tuple(message.args), size),
        "kwargsrepr": _shown(message.kwargs, size),
        **message.headers,
    }
    properties = {**template.properties, "correlation_id": message.id}
    if "reply_to" in message.options:
        properties["reply_to"] = message.options["reply_to"] or ""
    return Wire(payload[:-1] + _EMBED, headers, properties, template.route)


def is_replaced(method: Any) -> bool:
    """Whether a method of Celery or kombu was replaced or wrapped."""
    return method.__module__ not in _CELERYS_OWN or hasattr(method, "__wrapped__")


def _is_usual(app: Any) -> bool:
    amqp, conf = app.amqp, app.conf
    return (
        not conf.task_send_sent_event
        # Some apps hide arguments, or show more of them.
        and amqp.argsrepr_maxsize == amqp.kwargsrepr_maxsize == _REPR_SIZE
        and (conf.get("task_repr_maxlevels") or _REPR_LEVELS) == _REPR_LEVELS
        # Other rules may read the arguments.
        and all(isinstance(rule, MapRoute) for rule in amqp.router.routes)
    )


def _is_watched(batch: Batch) -> bool:
    """Whether other code watches or changes what Celery publishes."""
    signals = before_task_publish, after_task_publish, task_sent
    return any(signal.receivers for signal in signals) or is_replaced(type(batch.producer).publish)


def _is_one_queue(queue: Any) -> bool:
    """Whether a message goes to this one queue, which needs to be declared only once."""
    exchange = getattr(queue, "exchange", None)
    is_direct = getattr(exchange, "type", None) == "direct"
    return is_direct and bool(getattr(queue, "can_cache_declaration", False))


def _is_same(one: Wire, other: Wire) -> bool:
    """Whether two messages are equal; not if one is compressed, or not JSON."""
    return replace(one, body=b"") == replace(other, body=b"") and (
        from_json(one.body) == from_json(other.body)
    )


def _is_plain(value: object) -> bool:
    """Whether a header is plain JSON, which all transports write alike."""
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    return all(map(_is_plain, value)) if type(value) is list else type(value) in _PLAIN


def _shown(value: tuple[Any, ...] | Mapping[str, Any], size: int) -> str:
    """Return the text by which Flower shows arguments whose JSON has *size* bytes.

    celery.utils.saferepr takes fifteen times as long as ``repr``, and differs from it only in long,
    deep or quoted values.
    """
    if size < _REPR_SIZE:
        text = repr(value)
        is_plain = len(text) < _REPR_SIZE and not ("\\" in text or '"' in text)
        if is_plain and sum(map(text.count, "([{")) <= _REPR_LEVELS:
            return text
    return saferepr(value, _REPR_SIZE)
