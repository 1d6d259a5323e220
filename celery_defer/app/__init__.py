"""``Defer(app)``: the hooks into Celery's tracer, worker and signals."""

from celery_defer.app.block import deferring
from celery_defer.app.control import abort, cancel
from celery_defer.app.extension import Defer

__all__ = ["Defer", "abort", "cancel", "deferring"]
