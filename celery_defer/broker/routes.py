"""Where messages go: worked out once for those of a connection that go one way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from celery.app.routes import MapRoute

from celery_defer.broker.batch import Known
from celery_defer.broker.message import Draft, Message

__all__ = ["Route", "Routes"]

# Queues may be named for tenants, or for days.
_MOST_ROUTES = 1_000


class Routes:
    """The routes that a connection knows."""

    def __init__(self, app: Any, known: Known) -> None:
        self._app = app
        self._default_queue = str(app.conf.task_default_queue)
        self._known = _known(app.amqp.router, known)

    def of(self, message: Message) -> Route:
        if self._known is None:
            return Route.of(self._app, message)
        key = (self._default_queue, *_key(message))
        route = self._known.get(key)
        if route is None:
            route = self._known[key] = replace(Route.of(self._app, message), is_new=True)
        return route


@dataclass(slots=True)
class Route:
    """Where messages go, and the limits that travel in their headers."""

    options: dict[str, Any]
    limits: dict[str, Any]
    #: Made of the first message that went this way; None where one cannot be made.
    draft: Draft | None = None
    #: Whether it is kept for later messages, and its first has taught it nothing yet.
    is_new: bool = False

    @classmethod
    def of(cls, app: Any, message: Message) -> Route:
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


def _known(router: Any, known: Known) -> dict[Any, Route] | None:
    """Answer what is known of *router*; None where it may look at more than `_key`.

    The app has another router when `task_routes` is set anew.
    """
    if not all(isinstance(rule, MapRoute) for rule in router.routes):
        return None
    routes = known.setdefault(router, {})
    if len(routes) > _MOST_ROUTES:
        routes.clear()
    return routes


def _key(message: Message) -> tuple[Any, ...]:
    """What a route depends on, beside the settings."""
    task, options = message.task, message.options
    queue, priority = options.get("queue"), options.get("priority")
    return task.name, task.ignore_result, queue, priority, message.is_plain
