"""``Defer(app)``: the package, for one Celery app."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from celery_defer import hooks
from celery_defer.settings import Settings
from celery_defer.worker import CheckStep

__all__ = ["Defer"]

_FIXUP = "celery_defer.extension:Defer"


class Defer:
    """Let the tasks of *app* defer follow-up work.

    Call it once, where the app is made, before or after its configuration. Settings come
    from ``app.conf.defer_*``; SettingsError tells of a wrong one when a worker starts or
    when a run first defers.

    >>> app = Celery("shop", broker="redis://localhost:6379/0")
    >>> Defer(app)
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        app._celery_defer = self
        app.steps["worker"].add(CheckStep)
        # A pool that spawns its children rebuilds the app there from what
        # celery.app.base.Celery.__reduce_keys__ lists; fixups are called with the new app.
        app.fixups.add(_FIXUP)
        hooks.install(_settings_of)

    def __repr__(self) -> str:
        return f"Defer({self.app!r})"

    @cached_property
    def settings(self) -> Settings:
        """The settings, read once; raises SettingsError."""
        return Settings.read(self.app.conf, self.app.namespace)


def _settings_of(app: Any) -> Settings | None:
    extension = getattr(app, "_celery_defer", None)
    return extension.settings if extension is not None else None
