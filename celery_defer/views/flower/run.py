"""The page of one run, and what Flower's own page of it shows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from itertools import islice
from typing import Any

from flower.views.tasks import TaskView
from tornado.web import authenticated

from celery_defer import views
from celery_defer.store import RunState
from celery_defer.views import words
from celery_defer.views.flower import timeline
from celery_defer.views.flower.errors import PageError
from celery_defer.views.flower.page import Page, Reader
from celery_defer.views.rows import RunRecord, RunTree
from celery_defer.views.times import moment

#: How many runs of a tree, or relatives of a run, a page shows.
MOST = 200
_CAN_BE_CANCELLED = frozenset(
    {RunState.PUBLISHED, RunState.RUNNING, RunState.WAITING, RunState.HELD}
)


class RunPage(Page):
    template = "deferred/run.html"

    async def values(self, *path: str) -> dict[str, Any]:
        record = await self.read(views.record, path[0], most=MOST + 1)
        tree = await self.read(views.tree, path[0], most=self._first + MOST + 1)
        return {
            "record": record,
            "most": MOST,
            "moment": moment,
            "buttons": list(_buttons(record)),
            **_tree(tree, record, self._first),
        }

    @property
    def _first(self) -> int:
        text = self.get_query_argument("from", "0")
        return int(text) if text.isdecimal() else 0


class TaskPage(TaskView, Reader):  # type: ignore[misc]
    """Flower's page of a task, with the run's deferred runs, its parent and its siblings."""

    panel: Any = None

    @authenticated
    async def get(self, task_id: str) -> None:
        try:
            self.panel = {
                "record": await self.read(views.record, task_id, most=MOST + 1),
                "most": MOST,
            }
        except PageError as error:
            self.panel = None if error.is_missing else {"error": str(error)}
        if self.panel and "record" in self.panel and not self._is_known(task_id):
            self.redirect(self.reverse_url("deferred-run", task_id))
            return
        super().get(task_id)

    def _is_known(self, task_id: str) -> bool:
        """Whether Flower has received an event of the task since it started."""
        return task_id in self.application.events.state.tasks


def _buttons(record: RunRecord) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield the actions that the run's state allows, each with its label and fields."""
    run = record.run
    if record.waits_for and record.waits_for.kind != "limit":
        yield "wake", "Wake", {"id": run.id}
    if run.state in (RunState.BUFFERED, RunState.PUBLISHED) and run.parent and run.defer_id:
        yield "abort", "Abort", {"parent": run.parent, "defer_id": run.defer_id}
    elif run.state in _CAN_BE_CANCELLED:
        yield "cancel", "Cancel", {"id": run.id}
    elif run.state is RunState.FAILED or (run.state is RunState.ABORTED and run.started_at):
        yield "restart", "Restart", {"id": run.id}


def _tree(tree: RunTree, record: RunRecord, first: int) -> dict[str, Any]:
    """Return the runs of one page of the tree, each with its bar, and where the next begins."""
    now = datetime.now(timezone.utc)
    trees = list(islice(tree.trees(), first, first + MOST + 1))
    shown = [tree.run, *(each.run for _, each in trees[:MOST])]
    scale = timeline.scale(shown, record.steps, now)
    return {
        "scale": scale,
        "tree": [
            (depth, each.run, scale.run(each.run), words.waits(each.waits_for, now))
            for depth, each in trees[:MOST]
        ],
        "next_rows": first + MOST if len(trees) > MOST else None,
        "first_row": first,
    }
