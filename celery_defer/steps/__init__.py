"""Named pieces of a run, each done once, and waits that hold no worker."""

from celery_defer.steps.api import Steps, step
from celery_defer.steps.invoke import report_to_invoker
from celery_defer.steps.park import left
from celery_defer.steps.recall import know, restore
from celery_defer.steps.replay import Note

__all__ = ["Note", "Steps", "know", "left", "report_to_invoker", "restore", "step"]
