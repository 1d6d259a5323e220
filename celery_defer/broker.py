"""Celery's broker, as the package publishes to it: many messages in one batch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from celery.app.routes import MapRoute
from celery.app.task import Task
from celery.exceptions import SoftTimeLimitExceeded
from celery.signals import after_task_publish, before_task_publish, task_sent
from kombu import exceptions
from kombu.exceptions import OperationalError

from celery_defer.batch import Arrival, Batch, Ride, batch
from celery_defer.message import Draft, Message, is_direct, shown, shows_as_usual
from celery_defer.model import HEADER

__all__ = ["Message", "Sent", "connect", "connection_errors", "is_there", "send"]

logger = logging.getLogger(__name__)

_Errors = tuple[type[BaseException], ...]

# kombu 5.7 has both the batch and its error.
_BATCH_ERRORS = tuple(filter(None, [getattr(exceptions, "BatchPublishError", None)]))
_CELERYS_OWN = ("celery.app.task", "celery.app.base", "kombu.messaging")
# Queues may be named for tenants, or for days.
_MOST_ROUTES = 1_000


@dataclass(frozen=True, slots=True)
class Sent:
    """What was not published: messages that are at fault, and those that found no broker."""

    refused: tuple[Message, ...] = ()
    unsent: tuple[Message, ...] = ()
    #: Waits for the reply, where *ride* went with the messages.
    arrival: Arrival | None = None


def send(
    app: Any, messages: Sequence[Message], *, is_durable: bool = False, ride: Ride = lambda _: None
) -> Sent:
    """Publish *messages*; log what could not be.

    The first one connects, with as many tries as Celery's ``task_publish_retry_policy`` says;
    after that nothing is tried twice, for a second try may be a second message. With
    *is_durable* RabbitMQ has confirmed what is answered as sent. *ride* goes with the batch
    if that is complete and the broker is a Redis.
    """
    if not messages:
        return Sent()
    sent = _send(app, messages, is_durable, ride)
    if not (sent.refused and sent.unsent):
        return sent
    # RabbitMQ closes a channel over one bad message, and with it what was not yet confirmed.
    rest = send(app, [_once_more(message) for message in sent.unsent], is_durable=is_durable)
    return Sent(refused=(*sent.refused, *rest.refused), unsent=rest.unsent)


def _once_more(message: Message) -> Message:
    """Answer the message of another publication: the first may have arrived."""
    headers = message.options["headers"]
    token = headers.get(HEADER, {}).get("token", "")
    header = {**headers.get(HEADER, {}), "token": f"{token}.again"}
    return replace(message, options={**message.options, "headers": {**headers, HEADER: header}})


def _send(app: Any, messages: Sequence[Message], is_durable: bool, ride: Ride) -> Sent:
    sent = Sent()
    with app.producer_pool.acquire(block=True) as producer:
        errors = connection_errors(producer)
        try:
            connect(app, producer.connection)
            with batch(producer, is_durable) as opened:
                sent = _each(_Sender(app, opened), messages, errors)
                complete = not sent.refused and not sent.unsent
                return replace(sent, arrival=opened.send_with(ride) if complete else None)
        except errors as error:
            logger.error("the broker is away: %r", error)
            unsent = tuple(message for message in messages if message not in sent.refused)
            return Sent(refused=sent.refused, unsent=unsent)


def is_there(app: Any) -> bool:
    """Whether the broker answers, tried for as long as Celery would try; log if it does not."""
    with app.producer_pool.acquire(block=True) as producer:
        try:
            connect(app, producer.connection)
        except connection_errors(producer) as error:
            logger.error("the broker is away: %r", error)
            return False
        return True


def connect(app: Any, connection: Any) -> None:
    """Connect as kombu.messaging.Producer.publish does where Celery lets it retry."""
    if connection.connected:
        return
    if app.conf.task_publish_retry:
        connection.transport_options.update(app.conf.task_publish_retry_policy)
    try:
        connection.default_channel  # noqa: B018  # opens it
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:  # also what kombu deems hopeless, as a wrong password
        raise OperationalError(f"{error!r}") from error


def _each(sender: _Sender, messages: Sequence[Message], errors: _Errors) -> Sent:
    refused: list[Message] = []
    unsent = list(messages)
    try:
        while unsent:
            if not sender.sent(unsent[0], errors):
                refused.append(unsent[0])
            del unsent[0]
    except errors as error:
        # Each further try would block the worker for as long as this one did.
        logger.error("the broker is away: %r", error)
    return Sent(tuple(refused), tuple(unsent))


def connection_errors(producer: Any) -> _Errors:
    connection = producer.connection
    return (
        OperationalError,
        *_BATCH_ERRORS,
        *connection.recoverable_connection_errors,
        *connection.recoverable_channel_errors,
    )


@dataclass
class _Sender:
    """One producer, and what the messages of one batch have in common."""

    app: Any
    opened: Batch

    def sent(self, message: Message, errors: _Errors) -> bool:
        """Publish one message; False, and a log line, if it alone is at fault."""
        try:
            self._publish(message)
        except SoftTimeLimitExceeded:
            raise
        except errors:
            raise
        except Exception:
            logger.exception("deferred run %s (%s) cannot be sent", message.id, message.task.name)
            return False
        return True

    def _publish(self, message: Message) -> None:
        if _needs_apply_async(message):
            self._publish_by_task(message)
            return
        route = self._route(message)
        if route.draft and self._is_unwatched and _has_no_shadow(message):
            self.opened.put(route.draft.filled(message, self.app.thread_oid))
        else:
            self._publish_directly(message, route)
            self._learn(message, route)

    def _publish_by_task(self, message: Message) -> None:
        message.task.apply_async(
            message.args,
            message.kwargs,
            task_id=message.id,
            producer=self.opened.producer,
            add_to_parent=False,
            retry=False,
            **message.options,
        )

    def _publish_directly(self, message: Message, route: _Route) -> None:
        """Do what celery.app.base.Celery.send_task does, for a message without a clock.

        Much of its time goes into what the messages of a batch share: their route, their
        queue's declaration. It leaves out `Backend.on_task_call`, for nobody here waits.
        """
        amqp, task = self.app.amqp, message.task
        stamped = message.options.get("stamped_headers") or ()
        task_message = amqp.create_task_message(
            message.id,
            task.name,
            message.args,
            message.kwargs,
            reply_to=self.app.thread_oid,
            create_sent_event=self._tells_that_it_sends,
            root_id=message.options["root_id"],
            parent_id=message.options["parent_id"],
            shadow=task.shadow_name(message.args, message.kwargs, message.options),
            **self._shown(message),
            stamped_headers=stamped or None,
            **{name: message.options[name] for name in stamped},
            **route.limits,
        )
        amqp.send_task_message(
            self.opened.producer,
            task.name,
            task_message,
            headers=message.options["headers"],
            retry=False,
            **route.options,
        )

    def _shown(self, message: Message) -> dict[str, str]:
        if not shows_as_usual(self.app.amqp):
            return {}
        size = len(message.call.payload)
        return {
            "argsrepr": shown(message.args, size),
            "kwargsrepr": shown(message.kwargs, size),
        }

    def _learn(self, message: Message, route: _Route) -> None:
        """Spare the next message of this route what this one has had done."""
        if self._routes is None or route.is_known:
            return
        route.is_known = True
        queue = route.options.get("queue")
        if not getattr(queue, "can_cache_declaration", False):
            return
        route.options["declare"] = []  # once on this connection is enough
        if message.is_plain and is_direct(queue) and self._is_unwatched and _has_no_shadow(message):
            with suppress(Exception):  # this one has gone; the next goes the same way then
                route.draft = Draft.of(self.opened.last(), message, self.app.thread_oid)

    @cached_property
    def _is_unwatched(self) -> bool:
        """Whether nobody watches how Celery publishes, or has a hand in it."""
        signals = before_task_publish, after_task_publish, task_sent
        if self._tells_that_it_sends or any(signal.receivers for signal in signals):
            return False
        if not shows_as_usual(self.app.amqp):
            return False
        return not _is_replaced(type(self.opened.producer).publish)

    @cached_property
    def _tells_that_it_sends(self) -> bool:
        return bool(self.app.conf.task_send_sent_event)

    def _route(self, message: Message) -> _Route:
        if self._routes is None:
            return _Route.of(self.app, message)
        key = (self._default_queue, *_key(message))
        if key not in self._routes:
            self._routes[key] = _Route.of(self.app, message)
        return self._routes[key]

    @cached_property
    def _routes(self) -> dict[Any, _Route] | None:
        """What is known of this connection; None where a router may look at more than `_key`."""
        router = self.app.amqp.router  # another one when `task_routes` is set anew
        if not all(isinstance(rule, MapRoute) for rule in router.routes):
            return None
        routes = self.opened.known.setdefault(router, {})
        if len(routes) > _MOST_ROUTES:
            routes.clear()
        return routes

    @cached_property
    def _default_queue(self) -> str:
        return str(self.app.conf.task_default_queue)


def _key(message: Message) -> tuple[Any, ...]:
    """What a route depends on, beside the settings."""
    task, options = message.task, message.options
    queue, priority = options.get("queue"), options.get("priority")
    return task.name, task.ignore_result, queue, priority, message.is_plain


@dataclass(slots=True)
class _Route:
    """Where messages go, and the limits that travel in their headers."""

    options: dict[str, Any]
    limits: dict[str, Any]
    #: Made of the first message that went this way; None where one cannot be made.
    draft: Draft | None = None
    is_known: bool = False

    @classmethod
    def of(cls, app: Any, message: Message) -> _Route:
        task = message.task
        apart = {"headers", "parent_id", "root_id", "stamped_headers"}
        apart |= set(message.options.get("stamped_headers", ()))
        own = {name: value for name, value in message.options.items() if name not in apart}
        options = {"ignore_result": task.ignore_result, **task._get_exec_options(), **own}
        limits = {
            name: options.pop(name, None)
            for name in ("time_limit", "soft_time_limit", "ignore_result")
        }
        del options["expires"]
        return cls(
            app.amqp.router.route(options, task.name, message.args, message.kwargs, task), limits
        )


def _needs_apply_async(message: Message) -> bool:
    """Whether Celery's own, slower way is needed.

    It knows what countdown, eta and expires mean to each broker, and it is where a task
    class, or a tool that watches Celery, has put itself in between.
    """
    options, task = message.options, message.task
    if not options.keys().isdisjoint({"countdown", "eta", "expires"}) or task.expires is not None:
        return True
    return _is_patched(task, "apply_async") or _is_patched(task.app, "send_task")


def _has_no_shadow(message: Message) -> bool:
    return bool(type(message.task).shadow_name is Task.shadow_name)


def _is_patched(thing: Any, name: str) -> bool:
    return name in vars(thing) or _is_replaced(getattr(type(thing), name))


def _is_replaced(method: Any) -> bool:
    return method.__module__ not in _CELERYS_OWN or hasattr(method, "__wrapped__")
