"""The calls and runs to be published: committed, staged, published, settled, recovered."""

from celery_defer.outbox.again import run_again
from celery_defer.outbox.at_once import publish_durably
from celery_defer.outbox.block import add_calls, close_block, end_block
from celery_defer.outbox.calls import DeferHandle, call_of, defer, deferrable_in
from celery_defer.outbox.cancel import NOBODY, abort_call, cancel_run, has_ended
from celery_defer.outbox.commit import commit, commit_failure
from celery_defer.outbox.end import end_early, end_replaced, ending_of
from celery_defer.outbox.fanout import continue_fan_out, fan_out
from celery_defer.outbox.gathered import GatheredCalls
from celery_defer.outbox.history import is_told_unrevoked, is_withdrawn, task_in
from celery_defer.outbox.hook import hook_ends
from celery_defer.outbox.members import (
    report_members,
    report_members_elsewhere,
    report_refused_batch,
)
from celery_defer.outbox.outage import Outage
from celery_defer.outbox.parked import HeldAt, ParkedRun
from celery_defer.outbox.places import give_back, give_back_all
from celery_defer.outbox.publish import deliver, publish
from celery_defer.outbox.quarantine import drop_record, retry_record
from celery_defer.outbox.records import DeferredCalls, pack, unpack
from celery_defer.outbox.relay import Relay
from celery_defer.outbox.restart import begin_again
from celery_defer.outbox.stage import forget, has_succeeded, names_winner
from celery_defer.outbox.unpublished import stored_state
from celery_defer.outbox.wake import LEASE, wake

__all__ = [
    "LEASE",
    "NOBODY",
    "DeferHandle",
    "DeferredCalls",
    "GatheredCalls",
    "HeldAt",
    "Outage",
    "ParkedRun",
    "Relay",
    "abort_call",
    "add_calls",
    "begin_again",
    "call_of",
    "cancel_run",
    "close_block",
    "commit",
    "commit_failure",
    "continue_fan_out",
    "defer",
    "deferrable_in",
    "deliver",
    "drop_record",
    "end_block",
    "end_early",
    "end_replaced",
    "ending_of",
    "fan_out",
    "forget",
    "give_back",
    "give_back_all",
    "has_ended",
    "has_succeeded",
    "hook_ends",
    "is_told_unrevoked",
    "is_withdrawn",
    "names_winner",
    "pack",
    "publish",
    "publish_durably",
    "report_members",
    "report_members_elsewhere",
    "report_refused_batch",
    "retry_record",
    "run_again",
    "stored_state",
    "task_in",
    "unpack",
    "wake",
]
