"""The run in progress: facts of its message, its buffer, its journal, its ending."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import replace
from functools import cached_property
from time import monotonic
from typing import Any

from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend

from celery_defer import subject
from celery_defer.current import extension_of, task_in_progress
from celery_defer.errors import NoRunError
from celery_defer.ids import RunId
from celery_defer.run import arguments
from celery_defer.run.buffer import Buffer
from celery_defer.run.ending import Ending, Phase
from celery_defer.run.headers import DeferHeader, StepsHeader, WakeHeader
from celery_defer.run.journal import Journal
from celery_defer.run.parent import Run, parent_of
from celery_defer.settings import Settings
from celery_defer.store import Store

_scope: ContextVar[Scope | None] = subject.scope


class Scope:
    """One attempt of one run, traced by Celery; a plain class, as each run of the app has one."""

    journal: Journal | None = None
    #: Whether the payload was parsed: once, also if the task calls itself as a function.
    is_unpacked = False
    #: Whether its message is one of ours, for which a claim was made.
    is_claimed = False
    #: Whether what its body returns are scores of its parent.
    is_scorer = False
    #: Whether its body has taken a variant of an experiment.
    takes_variants = False
    #: Whether it is a block that has ended.
    is_over = False
    #: What differs from Celery's own policy when the run's result is stored.
    store_policy: Mapping[str, Any] = {}
    #: Celery's own request of the attempt: ``task.request``, which only the body's thread has.
    context: Any = None
    #: What ``tracing`` has noted of the attempt.
    span: Any = None
    _arguments: bytes | None = None

    def __init__(
        self, task: Any, request: Mapping[str, Any], settings: Settings, store: Store | None
    ) -> None:
        self.app = task.app
        self.settings = settings
        self.store = store
        self.task = task
        self.request = request
        self.outer = find()
        self.ending = Ending()
        #: When it was opened, by a clock that only goes forward.
        self.opened = monotonic()

    @cached_property
    def buffer(self) -> Buffer:
        """What the attempt has deferred; most runs never ask for it."""
        buffer: Buffer = vars(self).setdefault("buffer", Buffer())  # two threads may ask at once
        return buffer

    @property
    def has_deferred(self) -> bool:
        """Whether anything was put into the buffer."""
        return "buffer" in vars(self) and bool(self.buffer.calls or self.buffer.skipped)

    # -- facts ---------------------------------------------------------------------------

    @cached_property
    def header(self) -> DeferHeader | None:
        """The header of a deferred run; None for any other run."""
        return DeferHeader.of(self.request)

    @cached_property
    def wake(self) -> WakeHeader | None:
        """The header of a wake-up; None for any other message."""
        return WakeHeader.of(self.request)

    @cached_property
    def tags(self) -> Mapping[str, str]:
        """The tags of the run, those of its parent among them."""
        return self.header.tags if self.header else {}

    @cached_property
    def experiments(self) -> Mapping[str, tuple[str, RunId]]:
        """What the run carries: of each experiment the variant, and the run that has taken it."""
        return self.header.experiments if self.header else {}

    def carry(self, experiment: str, variant: str) -> None:
        """Let the run, and what it defers from now on, carry a variant that it has taken."""
        self.takes_variants = True
        self.experiments = {**self.experiments, experiment: (variant, self.run.id)}
        self.run = replace(self.run, experiments={**self.run.experiments, experiment: variant})

    @property
    def turn(self) -> int:
        """How often the run has parked."""
        return self.wake.turn if self.wake else 0

    @property
    def invoker(self) -> tuple[RunId, str] | None:
        """The run that waits for this one's end, and its step."""
        if not self.is_claimed or self.header is None or not self.header.step or self.is_eager:
            return None
        parent = self.run.parent
        return (parent.id, self.header.step) if parent else None

    @cached_property
    def run(self) -> Run:
        """What ``current_run()`` returns."""
        return _run(self)

    @property
    def is_eager(self) -> bool:
        return bool(self.request.get("is_eager"))

    @property
    def is_known(self) -> bool:
        """Whether the store knows of the run by its message or by a variant that it has taken."""
        return self.is_claimed or self.takes_variants

    @property
    def came_again(self) -> bool:
        """Whether the message is a redelivery or a retry."""
        return self.is_redelivered or bool(self.request.get("retries"))

    @property
    def is_redelivered(self) -> bool:
        """Whether this message was delivered before."""
        return bool((self.request.get("delivery_info") or {}).get("redelivered"))

    @property
    def ignores_result(self) -> bool:
        option = self.request.get("ignore_result")
        return bool(self.task.ignore_result if option is None else option)

    @property
    def keeps_result(self) -> bool:
        """Whether other processes can read the run's result."""
        if self.ignores_result:
            return False
        return not isinstance(self.task.backend, DisabledBackend | RPCBackend)

    @property
    def is_judged(self) -> bool:
        """Whether the stored result decides what becomes of the calls."""
        return self.keeps_result

    @property
    def has_readable_end(self) -> bool:
        """Whether the result says how it has ended; or no record says that it has begun.

        Experiments do not read results: to them it is open until its record says that it has ended.
        """
        if self.experiments or StepsHeader.of(self.request).variants:
            return False
        return self.keeps_result or not self.is_claimed

    @property
    def record_id(self) -> RunId:
        """The id of the run's record in the outbox."""
        return self.run.id

    def now(self) -> float:
        """Return the time, by the clock of the app's extension."""
        return float(extension_of(self.app).clock())

    def keep_arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Copy the arguments of the message, if the body may change them before it parks."""
        # A deferred function gets new objects, parsed from the payload.
        if (args or kwargs) and self.store and self.header is None and not self.is_eager:
            self._arguments = arguments.copied(self.task.name, args, kwargs)

    def arguments(self) -> arguments.Arguments:
        """Return the arguments of the message, or what the body has made of them."""
        if self._arguments:
            return arguments.restored(self._arguments)
        return self.context.args or (), self.context.kwargs or {}

    def drop(self, phase: Phase = Phase.DROPPED) -> None:
        """Drop the calls: the attempt has failed, is retried, or is parked."""
        self.ending.phase = phase
        if self.has_deferred:
            self.buffer.clear()


def enter(scope: Scope) -> Token[Scope | None]:
    """Make *scope* the one in progress; pass the token to ``leave``."""
    return _scope.set(scope)


def leave(token: Token[Scope | None]) -> None:
    """Restore the scope that was in progress before."""
    _scope.reset(token)


def find() -> Scope | None:
    """Return the scope in progress, whatever its phase; a block that has ended is none."""
    scope: Scope | None = subject.find()
    return scope


def current() -> Scope:
    """Return the scope that takes calls; raise NoRunError if there is none."""
    scope = find()
    if scope is None:
        raise _no_run()
    if not scope.ending.is_open:
        raise NoRunError(
            f"run {scope.run.id} ({scope.run.task}) has left its body; what it defers "
            "must be deferred inside the body"
        )
    return scope


def current_run() -> Run:
    """Return the run in progress; raise NoRunError outside a Celery task.

    >>> @app.task
    ... def score():
    ...     return current_run().parent.result()
    """
    scope = find()
    if scope is None:
        raise _no_run()
    return scope.run


def _no_run() -> NoRunError:
    task = task_in_progress()
    if task is None or extension_of(task.app) is not None:
        return NoRunError()
    return NoRunError(
        f"app {task.app.main!r} has no Defer(app), so its task {task.name} has no run: call "
        "Defer(app) where the app is made"
    )


def _run(scope: Scope) -> Run:
    request, header = scope.request, scope.header
    outer = scope.outer if header and scope.is_eager else None
    return Run(
        id=RunId(request["id"]),
        # Celery gives an eager run no root if a block is its parent, and before 5.6 none at all.
        root_id=RunId(outer.run.root_id if outer else request.get("root_id") or request["id"]),
        task=scope.task.name,
        attempt=(request.get("retries") or 0) + 1,
        parent=parent_of(scope, header) if header else None,
        deferred_at=header.deferred_at if header else None,
        depth=header.depth if header else 0,
        experiments={name: taken[0] for name, taken in header.experiments.items()}
        if header
        else {},
    )
