"""The addresses of the Deferred tab, among Flower's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tornado.web import StaticFileHandler, url

from celery_defer.views.flower.doing import ActionPage
from celery_defer.views.flower.errors import UnknownFlowerError
from celery_defer.views.flower.experiments import ExperimentPage, ExperimentsPage
from celery_defer.views.flower.lists import LimitsPage, OutboxPage, RunsPage, WaitingPage
from celery_defer.views.flower.loader import FOLDER
from celery_defer.views.flower.run import RunPage, TaskPage
from celery_defer.views.flower.tasks import Switch, TasksTable

_OWN = (
    url(r"/deferred", RunsPage, name="deferred"),
    url(r"/deferred/waiting", WaitingPage, name="deferred-waiting"),
    url(r"/deferred/limits", LimitsPage, name="deferred-limits"),
    url(r"/deferred/outbox", OutboxPage, name="deferred-outbox"),
    url(r"/deferred/experiments", ExperimentsPage, name="deferred-experiments"),
    url(r"/deferred/experiment", ExperimentPage, name="deferred-experiment"),
    url(r"/deferred/run/(.+)", RunPage, name="deferred-run"),
    url(r"/deferred/do/([\w-]+)", ActionPage, name="deferred-do"),
    url(r"/deferred/switch", Switch, name="deferred-switch"),
    # Not a tuple: Flower drops what it has behind the class when it adds the `url_prefix`.
    url(
        r"/deferred/static/(.*)",
        StaticFileHandler,
        {"path": str(FOLDER / "static")},
        name="deferred-static",
    ),
)
# Pages of Flower's that are replaced by a subclass, by the address.
_REPLACED = {r"/task/(.+)": TaskPage, r"/tasks/datatable": TasksTable}


def routes(flowers: Sequence[Any]) -> list[Any]:
    """Return Flower's routes with those of the tab; raise UnknownFlowerError if they differ."""
    replaced = [_replaced(route) for route in flowers]
    if sum(new is not old for new, old in zip(replaced, flowers, strict=True)) < len(_REPLACED):
        raise UnknownFlowerError(f"it has no pages {', '.join(_REPLACED)}")
    # The last of Flower's routes takes every address.
    return [*replaced[:-1], *_OWN, replaced[-1]]


def _replaced(route: Any) -> Any:
    if not isinstance(route, url):
        return route
    page = _REPLACED.get(route.regex.pattern.removesuffix("$"))
    if page is None:
        return route
    if not issubclass(page, route.handler_class):
        raise UnknownFlowerError(f"its page {route.regex.pattern} is {route.handler_class}")
    return url(route.regex.pattern, page, route.kwargs, route.name)
