"""The experiments, and the page of one: how its variants compare."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from celery_defer import views
from celery_defer.scoring import Comparison, compare
from celery_defer.scoring.comparison import COUNTS
from celery_defer.views.flower import filters
from celery_defer.views.flower.errors import PageError
from celery_defer.views.flower.page import Page
from celery_defer.views.flower.plot import panels

#: How many experiments the list shows: those with the newest runs.
MOST = 500
_SUMMARY = ("n", "mean", "deviation", "min", "q1", "median", "q3", "max")


class ExperimentsPage(Page):
    template = "deferred/experiments.html"
    place = "deferred-experiments"

    async def values(self, *_: str) -> dict[str, Any]:
        return {"experiments": await self.read(views.experiments), "most": MOST}


class ExperimentPage(Page):
    """The page of the experiment that the query names: an id may have slashes and dots."""

    template = "deferred/experiment.html"
    place = "deferred-experiments"

    async def values(self, *_: str) -> dict[str, Any]:
        id = self._text("id")
        chosen = filters.read({"since": self._text("since")}, datetime.now(timezone.utc))
        comparison, problem = await self._comparison(id, chosen)
        return {
            "id": id,
            "filters": chosen,
            "problem": problem,
            "comparison": comparison,
            "counts": COUNTS,
            "summary": _SUMMARY,
            "panels": panels,
            "differences": {(each.score, each.variant): each for each in comparison.differences},
        }

    async def _comparison(self, id: str, chosen: filters.Filters) -> tuple[Comparison, str | None]:
        """Return the comparison, and what is wrong with what was chosen for it."""
        if chosen.problem:
            return await self.read(compare, id), chosen.problem
        baseline = self._text("baseline") or None
        try:
            comparison = await self.read(compare, id, baseline=baseline, **chosen.arguments)
        except PageError as error:
            if error.is_missing:  # a variant to compare with
                return await self.read(compare, id), str(error)
            raise
        if not comparison.variants and not chosen.arguments:
            raise PageError(404, comparison.sentences[0])
        return comparison, None

    def _text(self, name: str) -> str:
        text: str = self.get_query_argument(name, "", strip=False)
        return text
