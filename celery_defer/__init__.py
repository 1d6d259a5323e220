"""Follow-up work for Celery tasks: typed, validated, published when the parent has succeeded."""

from celery_defer.app import Defer, abort, cancel, deferring, wake
from celery_defer.contract import DeferredTask, deferred
from celery_defer.errors import (
    ContractError,
    DeferError,
    DepthError,
    EventError,
    IdError,
    LimitError,
    NonRetriable,
    NoRunError,
    NotDeferredError,
    OptionError,
    PayloadError,
    ResultError,
    RetryAfter,
    SettingsError,
    StepError,
    StoreError,
)
from celery_defer.events import Event, Received, Woken, send_event
from celery_defer.ids import RunId, run_id
from celery_defer.model import Parent, Run
from celery_defer.outbox import DeferHandle, defer
from celery_defer.run import current_run
from celery_defer.steps import Steps, step

__all__ = [
    "ContractError",
    "Defer",
    "DeferError",
    "DeferHandle",
    "DeferredTask",
    "DepthError",
    "Event",
    "EventError",
    "IdError",
    "LimitError",
    "NoRunError",
    "NonRetriable",
    "NotDeferredError",
    "OptionError",
    "Parent",
    "PayloadError",
    "Received",
    "ResultError",
    "RetryAfter",
    "Run",
    "RunId",
    "SettingsError",
    "StepError",
    "Steps",
    "StoreError",
    "Woken",
    "abort",
    "cancel",
    "current_run",
    "defer",
    "deferred",
    "deferring",
    "run_id",
    "send_event",
    "step",
    "wake",
]
