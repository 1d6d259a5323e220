"""Follow-up work for Celery tasks: typed, validated, published when the parent has succeeded."""

from celery_defer.app import Defer, abort, cancel, deferring, restart, wake
from celery_defer.contract import DeferredTask, deferred
from celery_defer.errors import (
    ContractError,
    DeferError,
    DepthError,
    EventError,
    IdError,
    LimitError,
    NonRetriable,
    NoRecordError,
    NoRunError,
    NotDeferredError,
    OptionError,
    PayloadError,
    RestartError,
    ResultError,
    RetryAfter,
    ScoreError,
    SettingsError,
    StepError,
    StoreError,
    TagError,
)
from celery_defer.events import Event, Received, Woken, send_event
from celery_defer.ids import RunId, run_id
from celery_defer.outbox import DeferHandle, defer
from celery_defer.run import Parent, Run, current_run, set_tags
from celery_defer.scoring import score
from celery_defer.steps import Steps, step
from celery_defer.store import RunState, ScoreRow
from celery_defer.views import RunRecord, RunRow, RunTree, StepRow, WaitRow, record, tree

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
    "NoRecordError",
    "NoRunError",
    "NonRetriable",
    "NotDeferredError",
    "OptionError",
    "Parent",
    "PayloadError",
    "Received",
    "RestartError",
    "ResultError",
    "RetryAfter",
    "Run",
    "RunId",
    "RunRecord",
    "RunRow",
    "RunState",
    "RunTree",
    "ScoreError",
    "ScoreRow",
    "SettingsError",
    "StepError",
    "StepRow",
    "Steps",
    "StoreError",
    "TagError",
    "WaitRow",
    "Woken",
    "abort",
    "cancel",
    "current_run",
    "defer",
    "deferred",
    "deferring",
    "record",
    "restart",
    "run_id",
    "score",
    "send_event",
    "set_tags",
    "step",
    "tree",
    "wake",
]
