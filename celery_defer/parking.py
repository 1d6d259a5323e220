"""How a run leaves its worker: what it waits for is told and kept, and its message is over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from secrets import token_hex
from typing import Any, TypeVar

from celery.exceptions import SoftTimeLimitExceeded
from pydantic_core import from_json

from celery_defer import matching, memo, parked, telling
from celery_defer.durations import shown
from celery_defer.errors import StepError, StoreAwayError, StoreError
from celery_defer.flow import Cancelled, Suspended
from celery_defer.parked import WAKE, Parked
from celery_defer.replay import Note
from celery_defer.scope import Phase, Scope
from celery_defer.store import Arrival, Parking, SentEvent, Store, Subscription, Told, Verdict
from celery_defer.waking import LEASE, wake

__all__ = [
    "WAITING",
    "Wait",
    "ask",
    "cancelled",
    "chord_end",
    "left",
    "park",
    "show_started",
    "started",
]

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A part of the time that a chord's count lives: the count was begun a little before the run.
_SURE = 0.9
#: The state of a parked run in the result backend.
WAITING = "WAITING"
_OF_THE_MESSAGE = frozenset(
    {"task_id", "expires", "origin", "redelivered", "delivery_tag", "consumer_tag"}
)


@dataclass(frozen=True, slots=True)
class Wait:
    """What a step waits for, and until when at the latest.

    ``kind`` and ``about`` are told to whoever looks at the run; ``look`` is when the relay
    is to look first, if that is earlier.
    """

    kind: str
    until: float
    about: Mapping[str, Any] = field(default_factory=dict)
    #: How often a step was tried that is tried again.
    tries: int = 0
    strays: int = 0
    subscription: Subscription | None = None
    child: tuple[str, str] | None = None
    look: float | None = None
    is_over: Callable[[], bool] = lambda: False

    @property
    def shown(self) -> str | None:
        """Until when the run waits, as people read it; None where nobody knows."""
        return None if self.child else shown(self.until)


def park(run: Scope, step: str, wait: Wait) -> bytes:
    """Let the run leave its worker until *wait* is over.

    Raises Suspended, which ends the turn; or answers the memo of an event that came before.
    """
    _check_chord(run, step, wait)
    parking = _parking(run, step, wait)
    _show_waiting(run, step, wait)
    store, now = _store(run), run.now()
    # Past its time it waits for a worker, as all of the outbox does.
    keep = wait.until - now + run.settings.outbox_keeps

    def attempt(parking: Parking) -> Arrival:
        return ask(run, step, lambda: store.park(run.run.id, parking, now, keep))

    arrival = attempt(parking)
    if arrival.verdict is Verdict.LOOK:
        arrival = attempt(replace(parking, early=_early(run, step, wait, arrival.known)))
    if arrival.verdict is Verdict.ARRIVED:
        show_started(run)
        return arrival.memo or b""
    run.drop(Phase.PARKED)
    if arrival.verdict is Verdict.CANCELLED:
        raise cancelled(run)
    if arrival.verdict is Verdict.SUPERSEDED:
        raise Suspended(f"run {run.run.id} goes on in another delivery of it")
    _check_over(run, step, wait)
    raise Suspended(f"run {run.run.id} waits at step {step!r} until {wait.shown}")


def cancelled(run: Scope) -> Cancelled:
    """Answer what ends a run that was cancelled, here and where its body swallows it."""
    assert run.replay is not None  # noqa: S101
    run.drop(Phase.PARKED)
    run.replay.is_cancelled = True
    return Cancelled(f"run {run.run.id} was cancelled")


def left(run: Scope) -> Suspended:
    """Answer what ends a body that goes on though its run has left the worker."""
    if run.replay is not None and run.replay.is_cancelled:
        return cancelled(run)
    return Suspended(f"run {run.run.id} has left its worker")


def ask(run: Scope, step: str, question: Callable[[], T]) -> T:
    """Answer what the store answers; raise StoreAwayError where it does not."""
    try:
        return question()
    except SoftTimeLimitExceeded:
        raise
    except Exception as error:
        run.lost_store = StoreAwayError(
            f"step {step!r} of run {run.run.id} finds no store: {error!r}"
        )
        raise run.lost_store from error


def show_started(run: Scope) -> None:
    """Tell that the run is at work again, where Celery would not by itself."""
    if not telling.is_told(run):
        return
    try:
        telling.tell_started(run)
    except SoftTimeLimitExceeded:
        raise
    except Exception:
        logger.exception("run %s: its state is still that it waits", run.run.id)


def started(run: Scope) -> Told | None:
    """Answer what ``show_started`` would write, where the store may do that."""
    return telling.started(run) if telling.is_told(run) else None


# -- private ------------------------------------------------------------------------------


def _store(run: Scope) -> Store:
    if run.store is None or run.is_eager:
        raise StoreError
    return run.store


def _parking(run: Scope, step: str, wait: Wait) -> Parking:
    replay = run.replay
    assert replay is not None  # noqa: S101
    record = Parked(
        parked=run.run.id,
        task=run.task.name,
        turn=replay.turn + 1,
        args=run.task.request.args or (),
        kwargs=run.task.request.kwargs or {},
        options=_options(run),
        child=wait.child,
        until=wait.until if wait.child else None,
        headers=_headers(run),
        hostname=run.task.request.hostname,
    )
    try:
        body = parked.pack(record)
    except Exception as error:
        raise StepError(
            f"step {step!r} cannot park run {run.run.id}: its arguments are not JSON ({error}); "
            "use the serializer 'json' for tasks that wait",
            step,
        ) from error
    due = min(wait.until, wait.look or wait.until)
    return Parking(
        turn=replay.turn,
        step=step,
        note=Note(wait.tries, run.run.attempt, replay.turn, wait.strays).pack(),
        token=token_hex(4),  # told from others of this run alone
        body=body,
        due=due,
        subscription=wait.subscription,
    )


def _options(run: Scope) -> dict[str, Any]:
    """What Celery would publish a retry of the run with, but for the message's own."""
    options = {
        **_declared(run),
        **run.task.signature_from_request(run.task.request).options,
        "ignore_result": run.ignores_result,  # which Celery before 5.7 forgets
    }
    return {
        name: value
        for name, value in options.items()
        if value is not None and name not in _OF_THE_MESSAGE and name != "headers"
    }


def _declared(run: Scope) -> dict[str, Any]:
    """How the task has its messages written: celery.app.task.extract_exec_options."""
    names = ("serializer", "compression", "delivery_mode")
    given = {name: getattr(run.task, name, None) for name in names}
    if given["serializer"] == run.app.conf.task_serializer:
        del given["serializer"]
    return given


def _headers(run: Scope) -> dict[str, Any]:
    headers = run.task.request.headers or {}
    return {name: value for name, value in headers.items() if name != WAKE}


def _show_waiting(run: Scope, step: str, wait: Wait) -> None:
    """Tell the result backend and Flower, before the run may be woken."""
    if not run.ignores_result:
        meta = {"step": step, "waiting_for": wait.kind, **wait.about, "until": wait.shown}
        try:
            run.task.backend.store_result(run.run.id, meta, WAITING, request=run.task.request)
            _keep_result(run, wait)
        except SoftTimeLimitExceeded:
            raise
        except Exception:
            logger.exception("run %s: its state does not tell that it waits", run.run.id)
    if run.task.send_events:
        try:
            told = f"waiting: {wait.kind} at step {step!r} until {wait.shown}"
            run.task.send_event("task-waiting", result=told, eta=wait.shown)
        except SoftTimeLimitExceeded:
            raise
        except Exception:
            logger.exception("run %s: no event tells that it waits", run.run.id)


def _keep_result(run: Scope, wait: Wait) -> None:
    """Let the stored state outlive the wait: a client may be in ``get()`` all the time.

    celery.backends.base.KeyValueStoreBackend.expire; other backends keep what is not ready.
    """
    backend = run.task.backend
    expires = _seconds(getattr(backend, "expires", None))
    longest = wait.until - run.now()
    if expires and longest > expires / 2 and hasattr(backend, "get_key_for_task"):
        backend.expire(backend.get_key_for_task(run.run.id), int(longest + expires))


def chord_end(run: Scope) -> float | None:
    """Answer until when the chord that the run is a part of is sure to count it.

    Celery's Redis backend counts a chord's parts in keys that expire.
    """
    request, backend = run.task.request, run.task.backend
    if not (request.chord and request.group):
        return None
    set_for_chords = run.app.conf.get("result_chord_expires")
    expires = _seconds(set_for_chords or getattr(backend, "expires", None))
    since = run.replay.since if run.replay else run.now()
    return since + expires * _SURE if expires else None


def _check_chord(run: Scope, step: str, wait: Wait) -> None:
    end = chord_end(run)
    if end is None or wait.until <= end:
        return
    raise StepError(
        f"step {step!r} of run {run.run.id} would wait until {shown(wait.until)} inside a chord, "
        f"whose count expires at {shown(end)}: set result_chord_expires (before Celery 5.7: "
        "result_expires) to more than all waits of a run together",
        step,
    )


def _seconds(expires: Any) -> float | None:
    # Celery's database backend has a timedelta.
    return expires.total_seconds() if isinstance(expires, timedelta) else expires


def _early(run: Scope, step: str, wait: Wait, known: float) -> list[SentEvent]:
    """Answer the events that came before anybody had waited for such values.

    Since *known* events are kept by their values; those before are kept by their name.
    """
    about, store = wait.subscription, _store(run)
    assert about is not None  # noqa: S101
    by_name = matching.match(about.name, None).digest
    came = ask(run, step, lambda: store.past(about.name, by_name, about.since, known))
    return [event for event in came if _digest(event, about) == about.digest]


def _digest(event: SentEvent, wait: Subscription) -> str:
    data = from_json(memo.unpack(event.memo).result)["data"]
    return matching.digests(wait.name, data, [wait.shape])[wait.shape]


def _check_over(run: Scope, step: str, wait: Wait) -> None:
    """Wake the run at once if what it waits for has come while it was not parked yet."""
    try:
        if wait.is_over():
            store, now = _store(run), run.now()
            taken = store.arrive(run.run.id, step, now, now + LEASE)
            wake(run.app, store, [taken] if taken else [])
    except Exception:
        logger.exception("run %s: it may have missed what it waits for", run.run.id)
