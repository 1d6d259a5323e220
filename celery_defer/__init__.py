"""Follow-up work for Celery tasks: typed, validated, published when the parent has succeeded."""

from celery_defer.calls import DeferHandle, defer
from celery_defer.control import abort
from celery_defer.decorate import deferred
from celery_defer.errors import (
    ContractError,
    DeferError,
    DepthError,
    IdError,
    LimitError,
    NoRunError,
    NotDeferredError,
    OptionError,
    PayloadError,
    ResultError,
    SettingsError,
    StoreError,
)
from celery_defer.extension import Defer
from celery_defer.function import DeferredTask
from celery_defer.ids import RunId, run_id
from celery_defer.model import Parent, Run
from celery_defer.scope import current_run

__all__ = [
    "ContractError",
    "Defer",
    "DeferError",
    "DeferHandle",
    "DeferredTask",
    "DepthError",
    "IdError",
    "LimitError",
    "NoRunError",
    "NotDeferredError",
    "OptionError",
    "Parent",
    "PayloadError",
    "ResultError",
    "Run",
    "RunId",
    "SettingsError",
    "StoreError",
    "abort",
    "current_run",
    "defer",
    "deferred",
    "run_id",
]
