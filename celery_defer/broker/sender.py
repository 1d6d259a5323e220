"""How a message gets into a batch: by its task, by parts of Celery, or on another's pattern."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

from celery_defer.broker.batch import Batch
from celery_defer.broker.message import Draft, Message, is_direct, shown, shows_as_usual
from celery_defer.broker.routes import Route, Routes
from celery_defer.broker.shortcuts import has_no_shadow, is_unwatched, needs_apply_async

__all__ = ["Sender"]

logger = logging.getLogger(__name__)


@dataclass
class Sender:
    """One producer, and what the messages of one batch have in common."""

    app: Any
    opened: Batch

    def sent(self, message: Message, errors: tuple[type[BaseException], ...]) -> bool:
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
        if needs_apply_async(message):
            self._publish_by_task(message)
            return
        route = self._routes.of(message)
        if route.draft and self._is_unwatched and has_no_shadow(message):
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

    def _publish_directly(self, message: Message, route: Route) -> None:
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

    def _learn(self, message: Message, route: Route) -> None:
        """Spare the next message of this route what this one has had done."""
        if not route.is_new:
            return
        route.is_new = False
        queue = route.options.get("queue")
        if not getattr(queue, "can_cache_declaration", False):
            return
        route.options["declare"] = []  # once on this connection is enough
        if message.is_plain and is_direct(queue) and self._is_unwatched and has_no_shadow(message):
            with suppress(Exception):  # this one has gone; the next goes the same way then
                route.draft = Draft.of(self.opened.last(), message, self.app.thread_oid)

    @cached_property
    def _routes(self) -> Routes:
        return Routes(self.app, self.opened.known)

    @cached_property
    def _is_unwatched(self) -> bool:
        return not self._tells_that_it_sends and is_unwatched(self.app.amqp, self.opened.producer)

    @cached_property
    def _tells_that_it_sends(self) -> bool:
        return bool(self.app.conf.task_send_sent_event)
