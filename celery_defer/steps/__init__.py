"""Named pieces of a run, each done once, and waits that occupy no worker."""

from celery_defer.steps.api import Steps, step
from celery_defer.steps.earlier import earlier_events
from celery_defer.steps.experiment import ExperimentResult, experiment, forced
from celery_defer.steps.invoke import report_to_invoker
from celery_defer.steps.leaving import record_of
from celery_defer.steps.park import suspended
from celery_defer.steps.recall import away, journal_of, load_steps, restore
from celery_defer.steps.replay import CAUGHT, Note, Span
from celery_defer.steps.restart import Repeat, repeat
from celery_defer.steps.retention import (
    is_lost,
    keep_after_end,
    keep_until_retried,
    seconds_until,
)
from celery_defer.steps.scored import write_scores
from celery_defer.steps.wake import end_wait

__all__ = [
    "CAUGHT",
    "ExperimentResult",
    "Note",
    "Repeat",
    "Span",
    "Steps",
    "away",
    "earlier_events",
    "end_wait",
    "experiment",
    "forced",
    "is_lost",
    "journal_of",
    "keep_after_end",
    "keep_until_retried",
    "load_steps",
    "record_of",
    "repeat",
    "report_to_invoker",
    "restore",
    "seconds_until",
    "step",
    "suspended",
    "write_scores",
]
