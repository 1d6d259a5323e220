"""Celery's broker, as the package publishes to it: many messages in one batch."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from celery.app.routes import MapRoute
from celery.utils.saferepr import saferepr
from kombu import exceptions
from kombu.exceptions import OperationalError

from celery_defer.ids import RunId
from celery_defer.model import Call

__all__ = ["Message", "send"]

logger = logging.getLogger(__name__)

# One pipeline for all calls that a run may make; kombu's own default is a thousand.
_BATCH_SIZE = 10_000
# kombu 5.7 has both the batch and its error.
_BATCH_ERRORS = tuple(filter(None, [getattr(exceptions, "BatchPublishError", None)]))
# Celery shows arguments up to this length (celery.app.amqp.AMQP.argsrepr_maxsize).
_REPR_SIZE = 1024


@dataclass(frozen=True, slots=True)
class Message:
    """A call, addressed: a task, its id and arguments, and the options of its publication."""

    call: Call
    id: RunId
    task: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: dict[str, Any]


def send(app: Any, messages: Sequence[Message]) -> list[Message]:
    """Publish *messages* and answer those that could not be; log why.

    Celery's ``task_publish_retry`` holds for a broker that is away. A batch whose answer
    was lost is sent again, so a message may arrive twice under its one id.
    """
    with app.producer_pool.acquire(block=True) as producer:
        sender = _Sender(app, producer)
        if getattr(producer, "supports_batch_publish", False):  # kombu 5.7 with Redis
            try:
                with producer.batch(_BATCH_SIZE):
                    return _each(sender, messages, retry=False)
            except _BATCH_ERRORS as error:
                logger.warning("a batch of %d is sent again one by one: %r", len(messages), error)
        return _each(sender, messages, retry=None)


def _each(sender: _Sender, messages: Sequence[Message], retry: bool | None) -> list[Message]:
    failed: list[Message] = []
    unsent = list(messages)
    try:
        while unsent:
            # The first one connects, with as many tries as Celery's settings say.
            first = len(unsent) == len(messages)
            if not sender.sent(unsent[0], retry=None if first else retry):
                failed.append(unsent[0])
            del unsent[0]
    except sender.connection_errors as error:
        # Each further try would block the worker for as long as this one did.
        logger.error("the broker is away: %r", error)
    return failed + unsent


@dataclass(slots=True)
class _Sender:
    """One producer, and what the messages of one batch have in common."""

    app: Any
    producer: Any
    _routes: dict[tuple[str, int], _Route] = field(default_factory=dict)

    @property
    def connection_errors(self) -> tuple[type[BaseException], ...]:
        connection = self.producer.connection
        return (
            OperationalError,
            *connection.recoverable_connection_errors,
            *connection.recoverable_channel_errors,
        )

    def sent(self, message: Message, retry: bool | None) -> bool:
        """Publish one message; False, and a log line, if it alone is at fault."""
        try:
            self._publish(message, retry)
        except self.connection_errors:
            raise
        except Exception:
            logger.exception("deferred run %s (%s) cannot be sent", message.id, message.task.name)
            return False
        return True

    def _publish(self, message: Message, retry: bool | None) -> None:
        if _needs_apply_async(message):
            message.task.apply_async(
                message.args,
                message.kwargs,
                task_id=message.id,
                producer=self.producer,
                add_to_parent=False,
                retry=retry,
                **message.options,
            )
        else:
            self._publish_directly(message, retry)

    def _publish_directly(self, message: Message, retry: bool | None) -> None:
        """Do what celery.app.base.Celery.send_task does, for a message without a clock.

        Much of its time goes into what the messages of a batch share: their route, their
        queue's declaration. It leaves out `Backend.on_task_call`, for nobody here waits.
        """
        amqp, task = self.app.amqp, message.task
        route = self._route(message)
        stamped = message.options.get("stamped_headers") or ()
        task_message = amqp.create_task_message(
            message.id,
            task.name,
            message.args,
            message.kwargs,
            reply_to=self.app.thread_oid,
            create_sent_event=self.app.conf.task_send_sent_event,
            root_id=message.options["root_id"],
            parent_id=message.options["parent_id"],
            shadow=task.shadow_name(message.args, message.kwargs, message.options),
            argsrepr=_shown(message.args, len(message.call.payload)),
            kwargsrepr=_shown(message.kwargs, len(message.call.payload)),
            stamped_headers=stamped or None,
            **{name: message.options[name] for name in stamped},
            **route.limits,
        )
        amqp.send_task_message(
            self.producer,
            task.name,
            task_message,
            headers=message.options["headers"],
            retry=retry,
            **route.options,
        )
        # Declared once on this connection is enough.
        route.options["declare"] = []

    def _route(self, message: Message) -> _Route:
        # A router that is a function may look at the arguments; a mapping sees the name alone.
        by_name = all(isinstance(router, MapRoute) for router in self.app.amqp.router.routes)
        key = (message.task.name, id(message.call.options)) if by_name else (message.id, 0)
        if key not in self._routes:
            self._routes[key] = _Route.of(self.app, message)
        return self._routes[key]


@dataclass(frozen=True, slots=True)
class _Route:
    """Where messages go, and the limits that travel in their headers."""

    options: dict[str, Any]
    limits: dict[str, Any]

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
    method = type(task).apply_async
    return method.__module__ != "celery.app.task" or hasattr(method, "__wrapped__")


def _shown(value: object, size: int) -> str:
    return repr(value) if size < _REPR_SIZE else saferepr(value, _REPR_SIZE)
