"""The run in progress: facts of its message, its buffer, its journal, its ending."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from time import monotonic
from typing import Any

from celery.backends.base import DisabledBackend
from celery.backends.rpc import RPCBackend

from celery_defer import subject
from celery_defer.current import extension_of
from celery_defer.ids import RunId
from celery_defer.run import arguments
from celery_defer.run.buffer import Buffer
from celery_defer.run.ending import Ending, Phase
from celery_defer.run.headers import DeferHeader, StepsHeader, WakeHeader
from celery_defer.run.journal import Journal
from celery_defer.run.parent import Parent, Run, parent_of, parents_of
from celery_defer.settings import Settings
from celery_defer.store import Store


class Scope:
    """One attempt of one run, traced by Celery; a plain class, as each run of the app has one."""

    journal: Journal | None = None
    #: Whether the payload was parsed: once, also if the task calls itself as a function.
    is_unpacked = False
    #: Whether its message is one of ours, for which a claim was made.
    is_claimed = False
    #: Whether what its body returns are scores of its parent.
    is_scorer = False
    #: Its deferred function, if an event or a deadline may end it early.
    guarded: Any = None
    #: The digests of the events that cancel it; not empty if it is watched.
    watched: Sequence[str] = ()
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
    #: Of a batch: what its message says of the parents of its calls.
    parents: Sequence[Any] = ()
    #: Its deferred function, if that has limits by which its runs ask to start.
    limited: Any = None
    #: The places of limits that the attempt has; None if it has none.
    place: Any = None
    #: Why it cannot be held back, although it may not start.
    problem: Exception | None = None
    _arguments: bytes | None = None

    def __init__(
        self, task: Any, request: Mapping[str, Any], settings: Settings, store: Store | None
    ) -> None:
        self.app = task.app
        self.settings = settings
        self.store = store
        self.task = task
        self.request = request
        self.outer: Scope | None = subject.find()
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
    def goes_on(self) -> bool:
        """Whether it goes on after a wait at a step, and does not start, or start once more."""
        retries = self.request.get("retries") or 0
        return self.wake is not None and not self.wake.starts and self.wake.retries == retries

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
    def about(self) -> subject.Ids:
        """Its ids, for a line of the log that is written before it is in progress."""
        return subject.of_run(self.run)

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


def _parents(scope: Scope, header: DeferHeader | None) -> tuple[Parent, ...]:
    if header is None:
        return ()
    return parents_of(scope, header) if header.batch else (parent_of(scope, header),)


def _run(scope: Scope) -> Run:
    request, header = scope.request, scope.header
    parents = _parents(scope, header)
    outer = scope.outer if header and scope.is_eager else None
    return Run(
        id=RunId(request["id"]),
        # Celery gives an eager run no root if a block is its parent, and before 5.6 none at all.
        root_id=RunId(outer.run.root_id if outer else request.get("root_id") or request["id"]),
        task=scope.task.name,
        attempt=(request.get("retries") or 0) + 1,
        parent=parents[0] if parents and header and not header.batch else None,
        deferred_at=header.deferred_at if header else None,
        depth=header.depth if header else 0,
        experiments={name: taken[0] for name, taken in header.experiments.items()}
        if header
        else {},
        parents=parents,
    )
