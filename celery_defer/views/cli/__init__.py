"""The command line: ``celery -A app defer``."""

from celery_defer.views.cli.actions import abort, cancel, restart, wake
from celery_defer.views.cli.check import check
from celery_defer.views.cli.compare import compare
from celery_defer.views.cli.events import send_event
from celery_defer.views.cli.group import defer
from celery_defer.views.cli.limits import limits
from celery_defer.views.cli.outbox import outbox
from celery_defer.views.cli.quarantine import quarantine
from celery_defer.views.cli.runs import runs, show, tree
from celery_defer.views.cli.scores import scores
from celery_defer.views.cli.waiting import waiting
from celery_defer.views.cli.watch import watch

__all__ = [
    "abort",
    "cancel",
    "check",
    "compare",
    "defer",
    "limits",
    "outbox",
    "quarantine",
    "restart",
    "runs",
    "scores",
    "send_event",
    "show",
    "tree",
    "waiting",
    "wake",
    "watch",
]
