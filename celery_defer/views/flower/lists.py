"""The lists of the Deferred tab: runs, what is and what is waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from typing import Any, TypeVar

from celery_defer import views
from celery_defer.store import RunState
from celery_defer.views import rows
from celery_defer.views.flower import filters
from celery_defer.views.flower.errors import PageError
from celery_defer.views.flower.page import Page

T = TypeVar("T")

# What runs wait for, as the filter has it.
_KINDS = {
    "sleep": "A time", "event": "An event", "run": "A run", "retry": "The next try of a step",
    "restart": "A restart", "limit": "A limit",
}  # fmt: skip

#: How many records of the outbox, and of the quarantine, a page shows.
MOST = 100


class ListPage(Page):
    """A page whose address says what is filtered, and from where on."""

    def chosen(self, names: Iterable[str]) -> filters.Filters:
        typed = {name: self.get_query_argument(name, "") for name in names}
        return filters.read(typed, datetime.now(timezone.utc))

    @property
    def cursor(self) -> str | None:
        cursor: str | None = self.get_query_argument("cursor", None)
        return cursor

    async def listed(
        self, function: Callable[..., rows.Page[T]], chosen: filters.Filters
    ) -> tuple[rows.Page[T], str | None]:
        """Return the rows, and what is wrong with the filters or the cursor."""
        if chosen.problem:
            return rows.Page([]), chosen.problem
        try:
            return await self.read(function, cursor=self.cursor, **chosen.arguments), None
        except PageError as error:
            if error.is_missing:  # of a parent that is not known, say
                return rows.Page([]), str(error)
            raise


class RunsPage(ListPage):
    template = "deferred/runs.html"
    place = "deferred"

    async def values(self, *_: str) -> dict[str, Any]:
        chosen = self.chosen(filters.OF_RUNS)
        counts = await self.read(views.counts)
        page, problem = await self.listed(views.runs, chosen)
        return {
            "filters": chosen,
            "page": page,
            "problem": problem,
            "counts": _by_state(counts),
            "states": rows.STATES,
            "is_first": self.cursor is None,
        }


class WaitingPage(ListPage):
    template = "deferred/waiting.html"
    place = "deferred-waiting"

    async def values(self, *_: str) -> dict[str, Any]:
        chosen = self.chosen(filters.OF_WAITING)
        page, problem = await self.listed(views.waiting, chosen)
        return {
            "filters": chosen,
            "page": page,
            "problem": problem,
            "kinds": _KINDS,
            "is_first": self.cursor is None,
        }


class LimitsPage(Page):
    template = "deferred/limits.html"
    place = "deferred-limits"

    async def values(self, *_: str) -> dict[str, Any]:
        task = self.get_query_argument("task", "").strip() or None
        try:
            limits, problem = await self.read(views.limits, task=task), None
        except PageError as error:
            if not error.is_missing:
                raise
            limits, problem = [], str(error)
        return {"limits": limits, "problem": problem, "task": task}


class OutboxPage(Page):
    template = "deferred/outbox.html"
    place = "deferred-outbox"

    async def values(self, *_: str) -> dict[str, Any]:
        return {
            "outbox": await self.read(views.outbox, limit=MOST),
            "quarantine": await self.read(views.quarantine),
            "most": MOST,
        }


def _by_state(counts: Any) -> dict[RunState, int]:
    sums: dict[RunState, int] = {}
    for (state, _), count in counts.items():
        sums[state] = sums.get(state, 0) + count
    return sums
