"""The signals of the package: connect functions to them as to those of ``celery.signals``."""

from celery_defer.run.signals import (
    PublishedCall,
    call_deferred,
    call_skipped,
    calls_published,
    run_aborted,
    run_dropped,
    run_held,
    run_parked,
    run_woken,
    score_recorded,
)

__all__ = [
    "PublishedCall",
    "call_deferred",
    "call_skipped",
    "calls_published",
    "run_aborted",
    "run_dropped",
    "run_held",
    "run_parked",
    "run_woken",
    "score_recorded",
]
