"""What a worker says of its relay: ``celery inspect defer``."""

from __future__ import annotations

from typing import Any

from celery.worker.control import inspect_command

from celery_defer.current import extension_of


@inspect_command(name="defer")
def status(state: Any) -> dict[str, Any]:
    """Return the store of the worker, and when its relay has looked, both by its clock."""
    extension = extension_of(state.app)
    if extension is None:
        return {"error": "its app has no Defer(app)"}
    return {"store": extension.place, "looked_at": extension.looked_at, "now": extension.clock()}
