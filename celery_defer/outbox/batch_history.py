"""What the histories of a batch's run and of its calls are told as the batch leaves."""

from __future__ import annotations

from typing import Any

from celery_defer.broker import Message
from celery_defer.model import Call, Options
from celery_defer.outbox.gathered import GatheredCall, GatheredCalls
from celery_defer.run import about_batch, facts_of_calls, told_batched
from celery_defer.settings import Settings
from celery_defer.store import Fact, RunState

_PLAIN = Options()


def facts_of_batch(extension: Any, batch: GatheredCalls, message: Message) -> list[Fact]:
    """Return what is to be known of a batch whose *message* is published, and of its calls."""
    settings: Settings = extension.settings
    if not settings.record:
        return []
    now = extension.clock()
    return [
        _of_run(settings, batch, message, now),
        *of_calls(settings, batch, RunState.BATCHED, now),
    ]


def of_calls(settings: Settings, batch: GatheredCalls, state: RunState, now: float) -> list[Fact]:
    """Return what is to be known of the calls of a batch, once they are in this *state*."""
    told = told_batched(batch.id) if state is RunState.BATCHED else b""
    return [
        fact._replace(told=told)
        for each in batch.calls
        for fact in facts_of_calls(
            settings, [_call(batch, each)], state, parent=each.parent, root=each.root, now=now
        )
    ]


def _of_run(settings: Settings, batch: GatheredCalls, message: Message, now: float) -> Fact:
    ids = [call.id for call in batch.calls]
    about = about_batch(settings, batch.task, ids, message.payload)
    first = min(call.at for call in batch.calls)
    return Fact(
        batch.id, batch.task, RunState.PUBLISHED, settings.result_expires, about,
        deferred=now - first,
    )  # fmt: skip


def _call(batch: GatheredCalls, each: GatheredCall) -> Call:
    """Return a call as its parent had made it, without the payload, which its history has."""
    options = _PLAIN if each.when == "success" else Options(when=each.when)
    return Call(each.defer_id, batch.task, b"", each.at, options, tags=each.tags)
