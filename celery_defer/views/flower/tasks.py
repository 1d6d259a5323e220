"""Flower's list of tasks, with or without the runs that others have deferred."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from flower.views.tasks import TasksDataTable
from tornado.web import authenticated

from celery_defer.views.flower.page import Page

_COOKIE = "deferred_hidden"


def are_hidden(handler: Any) -> bool:
    """Whether the list leaves out deferred runs: by the reader's choice, else by the setting."""
    choice = handler.get_cookie(_COOKIE)
    return choice == "1" if choice else bool(handler.settings.get(_COOKIE))


class TasksTable(TasksDataTable):  # type: ignore[misc]
    """The rows of the list, which Flower's script asks for."""

    application: Any

    @authenticated
    def get(self) -> None:
        if not are_hidden(self):
            super().get()
            return
        whole = self.application
        self.application = _without_deferred(whole)
        try:
            super().get()
        finally:
            self.application = whole


class Switch(Page):
    """Hides deferred runs in Flower's list, or shows them."""

    @authenticated
    def post(self) -> None:
        hide = self.get_body_argument("hide", "0") == "1"
        self.set_cookie(_COOKIE, "1" if hide else "0", samesite="Lax", httponly=True)
        self.redirect(self.reverse_url("tasks"), status=303)


def is_deferred(id: str, task: Any) -> bool:
    """Whether a task that Flower knows was deferred: its id was computed from its parent's."""
    # celery_defer.ids: such an id is a UUID of version 5, and Celery's own have version 4.
    return id[14:15] == "5" and bool(getattr(task, "parent_id", None))


def _without_deferred(application: Any) -> Any:
    """Return what the list reads of Flower, with fewer tasks."""
    state = application.events.state
    known = getattr(state.tasks, "data", state.tasks)
    tasks = {id: task for id, task in known.items() if not is_deferred(id, task)}
    events = SimpleNamespace(state=SimpleNamespace(tasks=tasks, search_engine=state.search_engine))
    return SimpleNamespace(events=events, options=application.options)
