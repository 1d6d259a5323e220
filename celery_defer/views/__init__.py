"""A run's record as plain rows, and who shows them: the command line, Flower."""

from celery_defer.views.limits import limits
from celery_defer.views.lists import counts, failed, runs, waiting
from celery_defer.views.outbox import outbox, quarantine
from celery_defer.views.record import record, tree
from celery_defer.views.rows import (
    FlowRow,
    LimitRow,
    LineRow,
    OutboxRow,
    Page,
    QuarantineRow,
    RunRecord,
    RunRow,
    RunTree,
    StepRow,
    WaitRow,
)
from celery_defer.views.scores import experiments, orphans, scored, scored_in

__all__ = [
    "FlowRow",
    "LimitRow",
    "LineRow",
    "OutboxRow",
    "Page",
    "QuarantineRow",
    "RunRecord",
    "RunRow",
    "RunTree",
    "StepRow",
    "WaitRow",
    "counts",
    "experiments",
    "failed",
    "limits",
    "orphans",
    "outbox",
    "quarantine",
    "record",
    "runs",
    "scored",
    "scored_in",
    "tree",
    "waiting",
]
