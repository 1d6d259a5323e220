"""The run in progress: its scope, its headers, its memos, its reported states."""

from celery_defer.run import signals
from celery_defer.run.app import extension_for
from celery_defer.run.arguments import takes_steps
from celery_defer.run.block import Block
from celery_defer.run.buffer import Buffer
from celery_defer.run.changes import Changes, step_inside
from celery_defer.run.ending import Phase
from celery_defer.run.headers import STEPS, WAKE, DeferHeader, StepsHeader, WakeHeader
from celery_defer.run.history import (
    NO_REVOKE,
    WITHDRAWN,
    fact_of_run,
    facts_of_calls,
    facts_without_run,
    shown,
    told_by,
    told_of,
)
from celery_defer.run.memo import Failure, Memo
from celery_defer.run.parent import Parent, Run
from celery_defer.run.results import commands_of, hook_results, server_of_results, win, winner_of
from celery_defer.run.savepoint import Savepoint
from celery_defer.run.scope import Scope, current, current_run, enter, find, leave
from celery_defer.run.state import (
    MOST_WITHOUT_RUN,
    announce_waiting,
    lifetime,
    report_failed,
    report_revoked,
    report_started,
    report_waiting,
    report_without_run,
    started_commands,
    waiting_commands,
)
from celery_defer.run.tags import merged, set_tags
from celery_defer.run.tracing import TraceHeader, Tracing, tracing, use_tracing, with_waker

__all__ = [
    "MOST_WITHOUT_RUN",
    "NO_REVOKE",
    "STEPS",
    "WAKE",
    "WITHDRAWN",
    "Block",
    "Buffer",
    "Changes",
    "DeferHeader",
    "Failure",
    "Memo",
    "Parent",
    "Phase",
    "Run",
    "Savepoint",
    "Scope",
    "StepsHeader",
    "TraceHeader",
    "Tracing",
    "WakeHeader",
    "announce_waiting",
    "commands_of",
    "current",
    "current_run",
    "enter",
    "extension_for",
    "fact_of_run",
    "facts_of_calls",
    "facts_without_run",
    "find",
    "hook_results",
    "leave",
    "lifetime",
    "merged",
    "report_failed",
    "report_revoked",
    "report_started",
    "report_waiting",
    "report_without_run",
    "server_of_results",
    "set_tags",
    "shown",
    "signals",
    "started_commands",
    "step_inside",
    "takes_steps",
    "told_by",
    "told_of",
    "tracing",
    "use_tracing",
    "waiting_commands",
    "win",
    "winner_of",
    "with_waker",
]
