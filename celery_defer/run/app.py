"""Which app a call means that may name one."""

from __future__ import annotations

from typing import Any

from celery_defer.current import extension_of, in_use
from celery_defer.errors import StoreError
from celery_defer.run.in_progress import find


def extension_for(app: Any = None) -> Any:
    """Return the Defer of *app*, else that of the run in progress, else of the app in use."""
    run = find()
    app = app or (run.app if run else in_use())
    extension = extension_of(app)
    if extension is None:
        raise StoreError(f"{app!r} has no Defer(app)")
    return extension
