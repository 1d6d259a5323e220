"""The run in progress: its scope, its headers, its memos, its reported states."""

from celery_defer.run import signals
from celery_defer.run.about import about_batch, shown
from celery_defer.run.app import extension_for
from celery_defer.run.arguments import takes_steps
from celery_defer.run.block import Block
from celery_defer.run.buffer import Buffer
from celery_defer.run.changes import Changes, step_inside
from celery_defer.run.ending import Phase
from celery_defer.run.headers import STEPS, WAKE, DeferHeader, StepsHeader, WakeHeader
from celery_defer.run.history import (
    fact_before_start,
    fact_of_run,
    facts_of_calls,
    facts_without_run,
)
from celery_defer.run.in_progress import current, current_run, enter, find, leave
from celery_defer.run.memo import Failure, Memo
from celery_defer.run.parent import Parent, Run
from celery_defer.run.results import (
    commands_of,
    hook_results,
    send_commands,
    server_of_results,
    win,
    winner_of,
)
from celery_defer.run.savepoint import Savepoint
from celery_defer.run.scope import Scope
from celery_defer.run.state import (
    MOST_WITHOUT_RUN,
    announce_waiting,
    lifetime,
    report_dropped,
    report_failed,
    report_revoked,
    report_started,
    report_waiting,
    report_without_run,
    started_commands,
    waiting_commands,
)
from celery_defer.run.tags import merged, set_tags
from celery_defer.run.told import NO_REVOKE, WITHDRAWN, told_by, told_of
from celery_defer.run.told_of_limits import (
    key_shown,
    told_batched,
    told_dropped,
    told_held,
    told_replaced,
    why_dropped,
)
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
    "about_batch",
    "announce_waiting",
    "commands_of",
    "current",
    "current_run",
    "enter",
    "extension_for",
    "fact_before_start",
    "fact_of_run",
    "facts_of_calls",
    "facts_without_run",
    "find",
    "hook_results",
    "key_shown",
    "leave",
    "lifetime",
    "merged",
    "report_dropped",
    "report_failed",
    "report_revoked",
    "report_started",
    "report_waiting",
    "report_without_run",
    "send_commands",
    "server_of_results",
    "set_tags",
    "shown",
    "signals",
    "started_commands",
    "step_inside",
    "takes_steps",
    "told_batched",
    "told_by",
    "told_dropped",
    "told_held",
    "told_of",
    "told_replaced",
    "tracing",
    "use_tracing",
    "waiting_commands",
    "why_dropped",
    "win",
    "winner_of",
    "with_waker",
]
