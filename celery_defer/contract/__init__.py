"""What a deferred function takes and returns, there and back as JSON."""

from celery_defer.contract import returns
from celery_defer.contract.arguments import SchemaLayout, parents_in, without_parents
from celery_defer.contract.contract import Contract
from celery_defer.contract.declared import batching, deferrable, find, name_of
from celery_defer.contract.decorator import CeleryApp, decorated, deferred
from celery_defer.contract.function import CallOptions, Deferrable, DeferredTask, P
from celery_defer.contract.json_type import JsonType, core_schema
from celery_defer.contract.sample import Scoring

__all__ = [
    "CallOptions",
    "CeleryApp",
    "Contract",
    "Deferrable",
    "DeferredTask",
    "JsonType",
    "P",
    "SchemaLayout",
    "Scoring",
    "batching",
    "core_schema",
    "decorated",
    "deferrable",
    "deferred",
    "find",
    "name_of",
    "parents_in",
    "returns",
    "without_parents",
]
