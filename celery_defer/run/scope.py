"""The run in progress, and what it has deferred so far."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from contextvars import ContextVar, Token
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol

from celery_defer import current as apps
from celery_defer.errors import NoRunError, ResultError
from celery_defer.ids import RunId
from celery_defer.model import Call, CallState, Parent, Record, Run
from celery_defer.run.headers import Envelope
from celery_defer.settings import Settings
from celery_defer.store import Store

__all__ = [
    "Journal",
    "Phase",
    "Scope",
    "Staged",
    "current",
    "current_run",
    "enter",
    "find",
    "leave",
]

# What a body that is given it cannot change.
_FIXED = frozenset({str, int, float, bool, bytes, type(None)})

_scope: ContextVar[Scope | None] = ContextVar("celery_defer_scope", default=None)


class Phase(Enum):
    """How far a run has come."""

    RECEIVED = auto()
    IN_BODY = auto()
    RETURNED = auto()
    RAISED = auto()
    PARKED = auto()
    DROPPED = auto()


@dataclass(frozen=True, slots=True)
class Staged:
    """A record in the store: what it is kept under, and the token of this very one."""

    id: RunId
    token: str
    record: Record


class Journal(Protocol):
    """What a run remembers of its steps, as far as the run itself asks."""

    #: When the run was first seen, in seconds since 1970.
    since: float
    is_cancelled: bool

    def calls(self) -> Iterable[Call]:
        """Return what finished steps have deferred."""
        ...


class Scope:
    """One attempt of one run: lives from the moment Celery begins to trace it to the end.

    A plain class, for every task of the app opens one, and most need little of it.
    """

    phase = Phase.RECEIVED
    unpacked = False
    result: Any = None
    staged: Staged | None = None
    #: A record that goes with the run's result.
    boarding: Any = None
    #: Waits for the reply to what the run's end has published.
    arrival: Callable[[], None] | None = None
    #: How often the run has parked before.
    turn = 0
    #: Whether the result backend knows that the run has gone on.
    is_shown = False
    #: What is known of the run's steps, once one of them has asked; they fill it.
    journal: Journal | None = None
    #: What the body has published at once in earlier turns, and will defer again in this one.
    replayed: AbstractSet[str] = frozenset()
    #: Says that the store did not answer a step, also to a body that has swallowed it.
    lost_store: Exception | None = None
    #: The arguments as they came, pickled, where the body may change them.
    given: bytes | None = None
    #: What is told of the wait that the run has left its worker for.
    waits_for: Mapping[str, Any] | None = None
    #: The step whose function is at work.
    step: str | None = None
    #: The run that waits for this one's end, and its step.
    invoker: tuple[RunId, str] | None = None
    _run: Run | None = None

    def __init__(
        self, task: Any, request: Mapping[str, Any], settings: Settings, store: Store | None
    ) -> None:
        self.app = task.app
        self.settings = settings
        self.store = store
        self.task = task
        self.request = request
        self.outer = _scope.get()
        self.calls: dict[str, Call] = {}
        self.skipped: list[Call] = []

    def now(self) -> float:
        """Answer the time, by the clock of the app's extension."""
        return float(self.app._celery_defer.clock())

    @property
    def ignores_result(self) -> bool:
        ignored = self.request.get("ignore_result")
        return bool(self.task.ignore_result if ignored is None else ignored)

    @property
    def run(self) -> Run:
        """What ``current_run()`` answers; made when first asked for."""
        if self._run is None:
            self._run = _run(self)
        return self._run

    @property
    def is_eager(self) -> bool:
        return bool(self.request.get("is_eager"))

    @property
    def came_again(self) -> bool:
        """Whether this message was delivered before, or is a retry of Celery's."""
        delivery = self.request.get("delivery_info") or {}
        return bool(delivery.get("redelivered") or self.request.get("retries"))

    @property
    def takes_calls(self) -> bool:
        return self.phase in (Phase.RECEIVED, Phase.IN_BODY)

    def buffered(self) -> list[Call]:
        """Answer the calls that will be published if the run succeeds."""
        return [call for call in self.calls.values() if call.state is CallState.BUFFERED]

    def abort(self, defer_id: str) -> bool:
        """Withdraw a call that is in the buffer; answer whether it is withdrawn."""
        call = self.calls.get(defer_id)
        if call is not None and call.state is CallState.BUFFERED and self.takes_calls:
            self.calls[defer_id] = call.to(CallState.ABORTED)
        return defer_id in self.calls and self.calls[defer_id].state is CallState.ABORTED

    def drop(self, phase: Phase = Phase.DROPPED) -> None:
        """Throw the buffer away: the attempt has failed, is to be tried again, or is parked."""
        self.phase = phase
        self.calls.clear()
        self.skipped.clear()


def enter(scope: Scope) -> Token[Scope | None]:
    """Make *scope* the one in progress, until ``leave`` is given the answer."""
    return _scope.set(scope)


def leave(token: Token[Scope | None]) -> None:
    """Go back to the scope that was in progress before."""
    _scope.reset(token)


def find() -> Scope | None:
    """Answer the scope in progress, whatever its phase."""
    return _scope.get()


def current() -> Scope:
    """Answer the scope that takes calls; raise NoRunError where there is none."""
    scope = _scope.get()
    if scope is None:
        raise _no_run()
    if not scope.takes_calls:
        raise NoRunError(
            f"run {scope.run.id} ({scope.run.task}) has left its body; what it defers "
            "must be deferred inside the body"
        )
    return scope


def current_run() -> Run:
    """Answer the run in progress; raise NoRunError outside a Celery task.

    >>> @app.task
    ... def score():
    ...     return current_run().parent.result()
    """
    scope = _scope.get()
    if scope is None:
        raise _no_run()
    return scope.run


def copied(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes | None:
    """Answer arguments, pickled, that a body may change while it works; None if it cannot."""
    if _FIXED.issuperset(map(type, args)) and _FIXED.issuperset(map(type, kwargs.values())):
        return None
    with suppress(
        Exception
    ):  # what came in a message can be copied; its task may be called by hand
        return pickle.dumps((args, kwargs), pickle.HIGHEST_PROTOCOL)
    return None


def _no_run() -> NoRunError:
    task = apps.task_in_progress()
    if task is None or hasattr(task.app, "_celery_defer"):
        return NoRunError()
    return NoRunError(
        f"app {task.app.main!r} has no Defer(app), so its task {task.name} has no run: call "
        "Defer(app) where the app is made"
    )


def _run(scope: Scope) -> Run:
    request, envelope = scope.request, Envelope.open(scope.request)
    outer = scope.outer if envelope and scope.is_eager else None
    return Run(
        id=RunId(request["id"]),
        # Celery before 5.6 tells an eager run neither its root nor its parent.
        root_id=RunId(request.get("root_id") or (outer.run.root_id if outer else request["id"])),
        task=scope.task.name,
        attempt=(request.get("retries") or 0) + 1,
        parent=_parent(scope, envelope) if envelope else None,
        deferred_at=envelope.deferred_at if envelope else None,
        depth=envelope.depth if envelope else 0,
    )


def _parent(scope: Scope, envelope: Envelope) -> Parent:
    stated = scope.request.get("parent_id") or (scope.outer and scope.outer.run.id)
    parent_id = RunId(stated or "")
    return Parent(
        id=parent_id,
        task=envelope.parent_task,
        defer_id=envelope.defer_id,
        when=envelope.when,
        experiment=envelope.experiment,
        _read=lambda: _result(scope, parent_id, envelope.parent_task),
    )


def _result(scope: Scope, parent_id: RunId, task: str) -> Any:
    if scope.is_eager and scope.outer and scope.outer.run.id == parent_id:
        return scope.outer.result  # an eager parent's result is stored nowhere
    # A task may have a result backend of its own.
    stored = scope.app.tasks.get(task, scope.app).AsyncResult(parent_id)
    if stored.backend.as_uri() == "disabled://":  # celery.backends.base.DisabledBackend
        raise ResultError(f"run {parent_id} keeps no result: the app has no result_backend")
    if not stored.ready():
        raise ResultError(
            f"run {parent_id} has no stored result: "
            "it ignores its result, or the result has expired"
        )
    return stored.result
