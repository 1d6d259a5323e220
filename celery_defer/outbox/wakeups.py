"""The message that wakes a run: Celery makes the first of a kind, the next are written on it."""

from __future__ import annotations

from collections.abc import Hashable, Set
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

from celery.app.routes import MapRoute
from pydantic_core import from_json

from celery_defer.broker.batch import Batch
from celery_defer.broker.encoding import dumps
from celery_defer.broker.message import Wire, is_direct, is_usual, shown
from celery_defer.broker.shortcuts import is_unwatched
from celery_defer.outbox.parked import Parked
from celery_defer.run.headers import WAKE, Wake

__all__ = ["Wakeups"]

# Parameters of celery.app.amqp.AMQP.as_task_v2 that travel in the message; what else Celery
# retries a run with says where the message goes.
_CARRIED = frozenset(
    {"root_id", "parent_id", "group_id", "group_index", "shadow", "chord", "chain", "retries"}
    | {"soft_time_limit", "time_limit", "reply_to", "replaced_task_nesting", "origin"}
    | {"ignore_result", "stamped_headers"}
)
# Options of which two runs of a kind have the same values; then those that they may differ in.
_OF_A_KIND = frozenset(
    {"retries", "reply_to", "replaced_task_nesting", "origin", "ignore_result", "priority"}
    | {"queue", "exchange", "routing_key", "time_limit", "soft_time_limit", "shadow"}
    | {"serializer", "compression", "delivery_mode"}
)
_OF_A_RUN = frozenset({"root_id", "parent_id"})
_EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
_MOST_KINDS = 1_000


class Wakeups:
    """Publishes parked runs by one batch."""

    def __init__(self, app: Any, opened: Batch) -> None:
        self._app = app
        self._opened = opened

    def publish(self, run: Parked, token: str) -> None:
        """Publish one run; *token* names this publication."""
        kind = self._kind(run)
        wire = self._known.get(kind) if kind else None
        if wire is not None:
            self._opened.put(_written(wire, run, token))
            return
        headers, queue = self._publish_by_celery(run, token)
        if kind and getattr(queue, "can_cache_declaration", False) and is_direct(queue):
            self._learn(kind, run, token, headers)

    def _publish_by_celery(self, run: Parked, token: str) -> tuple[Set[str], Any]:
        """Do what celery.app.task.Task.apply_async does for a retry; answer headers and queue.

        That one would make the run a child of the task in progress here.
        """
        amqp, options = self._app.amqp, dict(run.options)
        carried = {name: options.pop(name) for name in _CARRIED & options.keys()}
        stamps = {name: options.pop(name, None) for name in carried.get("stamped_headers") or ()}
        message = amqp.create_task_message(
            run.parked,
            run.task,
            tuple(run.args),
            dict(run.kwargs),
            callbacks=options.pop("link", None),
            errbacks=options.pop("link_error", None),
            **carried,
            **stamps,
        )
        route = amqp.router.route(options, run.task, run.args, run.kwargs)
        amqp.send_task_message(
            self._opened.producer,
            run.task,
            message,
            headers=_headers(run, token),
            retry=False,
            **route,
        )
        return message.headers.keys(), route.get("queue")

    def _kind(self, run: Parked) -> Hashable:
        """Answer what runs share whose messages differ in little; None where that is not known."""
        if not (self._is_unwatched and run.options.keys() <= (_OF_A_KIND | _OF_A_RUN)):
            return None
        with suppress(TypeError):  # an option that is neither text nor number
            options = frozenset({**run.options, **dict.fromkeys(_OF_A_RUN)}.items())
            return self._app.conf.task_default_queue, run.task, options, frozenset(run.headers)
        return None

    @cached_property
    def _is_unwatched(self) -> bool:
        """Whether nobody watches how Celery publishes, or has a hand in it."""
        amqp = self._app.amqp
        # Another rule may look at a run's arguments.
        has_usual_routes = all(isinstance(rule, MapRoute) for rule in amqp.router.routes)
        return has_usual_routes and is_unwatched(amqp, self._opened.producer)

    @cached_property
    def _known(self) -> dict[Any, Any]:
        """What was published on this connection, by its kind."""
        of_router = self._opened.known.setdefault(self._app.amqp.router, {})
        known: dict[Any, Any] = of_router.setdefault(Wakeups, {})
        if len(known) > _MOST_KINDS:
            known.clear()
        return known

    def _learn(self, kind: Hashable, run: Parked, token: str, headers: Set[str]) -> None:
        with suppress(Exception):  # this one has gone; the next goes the same way then
            wire = self._opened.last()
            # A tool beneath Celery may have headers of its own, for each message others.
            if wire is None or wire.headers.keys() != headers or not is_usual(wire.properties):
                return
            if _is_same(wire, _written(wire, run, token)):
                self._known[kind] = wire


def _headers(run: Parked, token: str) -> dict[str, Any]:
    return {**run.headers, WAKE: Wake(run.turn, token).seal()}


def _written(wire: Wire, run: Parked, token: str) -> Wire:
    """Write the message of another run of the same kind."""
    body = dumps((run.args, run.kwargs, _EMBED)).encode()
    headers = {
        **wire.headers,
        "id": run.parked,
        "root_id": run.options.get("root_id") or run.parked,
        "parent_id": run.options.get("parent_id"),
        "argsrepr": shown(tuple(run.args), len(body)),
        "kwargsrepr": shown(run.kwargs, len(body)),
        **_headers(run, token),
    }
    return Wire(body, headers, {**wire.properties, "correlation_id": run.parked}, wire.way)


def _is_same(one: Wire, other: Wire) -> bool:
    """Whether two messages are equal; not if one is compressed, or no JSON."""
    return replace(one, body=b"") == replace(other, body=b"") and (
        from_json(one.body) == from_json(other.body)
    )
