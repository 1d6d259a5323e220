"""Named pieces of a run, each done once, and waits that occupy no worker."""

from celery_defer.steps.api import Steps, step
from celery_defer.steps.experiment import ExperimentResult, experiment, forced
from celery_defer.steps.invoke import report_to_invoker
from celery_defer.steps.park import suspended
from celery_defer.steps.recall import load_steps, restore
from celery_defer.steps.replay import CAUGHT, Note, Span
from celery_defer.steps.restart import Repeat, repeat
from celery_defer.steps.retention import is_lost, keep_after_end, keep_until_retried
from celery_defer.steps.scored import write_scores
from celery_defer.steps.wake import end_wait

__all__ = [
    "CAUGHT",
    "ExperimentResult",
    "Note",
    "Repeat",
    "Span",
    "Steps",
    "end_wait",
    "experiment",
    "forced",
    "is_lost",
    "keep_after_end",
    "keep_until_retried",
    "load_steps",
    "repeat",
    "report_to_invoker",
    "restore",
    "step",
    "suspended",
    "write_scores",
]
