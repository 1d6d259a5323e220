"""Flower's templates, with what the Deferred tab adds to them, and the tab's own templates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tornado.template import BaseLoader, Template

from celery_defer.views.flower.errors import UnknownFlowerError

FOLDER = Path(__file__).parent
_OWN = "deferred/"

# What is added to a template of Flower's, and the text of its before which it stands.
_ADDED = {
    "base.html": (
        """<link href="{{ reverse_url('deferred-static', 'deferred.css') }}" rel="stylesheet">""",
        "</head>",
    ),
    "navbar.html": (
        '{% module Template("deferred/tab.html", active_tab=active_tab) %}',
        "</ul>",
    ),
    "tasks.html": (
        '{% module Template("deferred/switch.html") %}',
        '<section class="tasks-table-card"',
    ),
    "task.html": (
        '{% module Template("deferred/panel.html", panel=getattr(handler, "panel", None)) %}',
        "</div>\n{% end %}",
    ),
}


class Templates(BaseLoader):
    """Loads Flower's templates from *folder*, and the tab's own by the names ``deferred/…``.

    All templates have *names*.
    """

    def __init__(self, folder: str, **names: Any) -> None:
        super().__init__(namespace=names)
        self._flowers = Path(folder)

    def check(self) -> None:
        """Raise UnknownFlowerError if one of Flower's templates has no place for an addition."""
        for name in _ADDED:
            self._source(name)

    def resolve_path(self, name: str, parent_path: str | None = None) -> str:  # noqa: ARG002
        return name  # all names are whole, also in Flower's own templates

    def _create_template(self, name: str) -> Template:
        return Template(self._source(name), name=name, loader=self)

    def _source(self, name: str) -> str:
        if name.startswith(_OWN):
            return (FOLDER / "templates" / name.removeprefix(_OWN)).read_text("utf-8")
        source = (self._flowers / name).read_text("utf-8")
        return _with_addition(name, source) if name in _ADDED else source


def _with_addition(name: str, source: str) -> str:
    addition, before = _ADDED[name]
    if before not in source:
        raise UnknownFlowerError(f"its template {name} has no {before!r}")
    return source.replace(before, f"{addition}\n{before}", 1)
