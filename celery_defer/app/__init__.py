"""``Defer(app)``: where Celery's tracer, worker and signals are met."""

from celery_defer.app.control import abort, cancel
from celery_defer.app.extension import Defer

__all__ = ["Defer", "abort", "cancel"]
