"""``Defer(app)``: the hooks into Celery's tracer, worker and signals."""

from celery_defer.app.block import deferring
from celery_defer.app.control import abort, cancel, wake
from celery_defer.app.extension import Defer
from celery_defer.app.limits import pause, resume, set_limit
from celery_defer.app.repair import drop_quarantined, retry, retry_quarantined
from celery_defer.app.restart import plan_restart, restart
from celery_defer.app.status import status

__all__ = [
    "Defer",
    "abort",
    "cancel",
    "deferring",
    "drop_quarantined",
    "pause",
    "plan_restart",
    "restart",
    "resume",
    "retry",
    "retry_quarantined",
    "set_limit",
    "status",
    "wake",
]
