"""What a deferred function takes and returns, there and back as JSON."""

from celery_defer.contract import returns
from celery_defer.contract.arguments import SchemaLayout
from celery_defer.contract.contract import Contract
from celery_defer.contract.declared import deferrable, find, name_of
from celery_defer.contract.decorator import deferred
from celery_defer.contract.function import CallOptions, Deferrable, DeferredTask, P
from celery_defer.contract.json_type import JsonType, core_schema

__all__ = [
    "CallOptions",
    "Contract",
    "Deferrable",
    "DeferredTask",
    "JsonType",
    "P",
    "SchemaLayout",
    "core_schema",
    "deferrable",
    "deferred",
    "find",
    "name_of",
    "returns",
]
