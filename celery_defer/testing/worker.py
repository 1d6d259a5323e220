"""What a worker does with messages, when a test says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from celery import _state
from celery.app import trace
from celery.app.autoretry import add_autoretry_behaviour
from celery.app.task import Context
from celery.app.trace import IGNORE_STATES
from celery.exceptions import NotRegistered
from celery.states import FAILURE, RETRY, REVOKED, SUCCESS
from pydantic_core import to_json

from celery_defer.ids import RunId
from celery_defer.model import WAITING, Call, Options
from celery_defer.outbox import cancellation
from celery_defer.run import scope
from celery_defer.run.headers import Envelope
from celery_defer.run.scope import Phase
from celery_defer.testing.broker import Letter
from celery_defer.testing.stand_ins import StandIns
from celery_defer.testing.tracks import Track, World

__all__ = ["SimulatedWorker"]


@dataclass(eq=False)
class SimulatedWorker:
    """Runs one message at a time, by Celery's own tracer, and takes down what comes of it."""

    world: World
    clock: Callable[[], float]
    stand_ins: StandIns = field(default_factory=StandIns)
    _revoked: set[str] = field(default_factory=set)

    @property
    def app(self) -> Any:
        return self.world.app

    def published(self, letter: Letter) -> None:
        """Take down the run of a message, and the call of ``defer`` that it was made of."""
        track = Track(RunId(letter.id), letter.task, letter.headers)
        self.world.tracks.setdefault(letter.id, track)
        if envelope := Envelope.open(letter.headers):
            parent = letter.headers.get("parent_id") or ""
            known = self.world.store.calls.setdefault(parent, {})
            known.setdefault(envelope.defer_id, _call(letter, envelope))

    def told(self, message: Mapping[str, Any]) -> None:
        """Do what is told to all workers: revoke runs, also those that are parked."""
        if message["method"] != "revoke":
            return
        ids = message["arguments"]["task_id"]
        for id in [ids] if isinstance(ids, str) else ids:
            self._revoked.add(id)
            self._end_parked(RunId(id))

    def deliver(self, letter: Letter) -> None:
        """Run a message, unless it has expired or its run was revoked."""
        track, task = self.world.tracks[letter.id], self._task(letter.task)
        is_expired = letter.expires is not None and letter.expires <= self.clock()
        if is_expired or letter.id in self._revoked:
            _revoke(self.app, track, task, letter)
            return
        is_over = track.has_ended  # and this is a second message of the run
        if stand_in := self.stand_ins.find(None, task.name):
            task = _with_body(task, stand_in.take)
        tracer = trace.build_tracer(task.name, task, app=self.app)
        with _in_worker():
            answered = tracer(letter.id, letter.args, letter.kwargs, letter.request())
        if not is_over:
            _conclude(track, answered)

    def ended(self, state: str, **_: Any) -> None:
        """See what the run in progress has come to, before its scope is gone."""
        own = scope.find()
        if own is None or own.app is not self.app or own.is_eager:
            return
        track = self.world.tracks[own.run.id]
        track.passes += 1
        track.skipped += own.skipped
        known = self.world.store.calls.setdefault(own.run.id, {})
        known.update({call.id: call for call in own.skipped if call.id not in own.calls})
        known.update(own.calls)
        if own.phase is Phase.PARKED:
            track.state, track.about = WAITING, own.waits_for or {}
        elif state in IGNORE_STATES:
            track.state = state

    def call_step(self, step: str, function: Callable[[], Any]) -> Any:
        """Call the function of a step, or do what the test has take its place."""
        own = scope.find()
        assert own is not None  # noqa: S101
        if not own.is_eager:
            steps = self.world.tracks[own.run.id].steps
            steps[step] = steps.get(step, 0) + 1
        stand_in = self.stand_ins.find(step, own.run.task)
        return stand_in.take() if stand_in else function()

    def _task(self, name: str) -> Any:
        if name not in self.app.tasks:
            self.app.loader.import_default_modules()  # as a worker does when it starts
        if name not in self.app.tasks:
            raise NotRegistered(name)
        return self.app.tasks[name]

    def _end_parked(self, id: RunId) -> None:
        cancellation.cancel(self.app, self.world.store, id, only_parked=True)


def _with_body(task: Any, act: Callable[[], Any]) -> Any:
    """Answer a task like this one, whose body does something else."""
    other = object.__new__(type(task))  # celery.app.task.Task.__reduce__ lets no copy be made
    # Of the task itself are its function and what is wrapped round that.
    own = ("run", "_orig_run", "_celery_defer")
    vars(other).update({name: value for name, value in vars(task).items() if name not in own})
    other.run = lambda *_, **__: act()
    add_autoretry_behaviour(other)
    return other


def _call(letter: Letter, envelope: Envelope) -> Call:
    """What a message tells of the call that it was published for."""
    payload = to_json([letter.args, letter.kwargs])
    options = Options(when=envelope.when)
    return Call(envelope.defer_id, letter.task, payload, envelope.deferred_at.timestamp(), options)


def _revoke(app: Any, track: Track, task: Any, letter: Letter) -> None:
    request = Context(letter.request())
    cancellation.end(app, task.backend, request, stores=not request.ignore_result)
    track.state = REVOKED


def _conclude(track: Track, answered: Any) -> None:
    """Read what celery.app.trace.build_tracer.<locals>.trace_task has answered."""
    if answered.info is None:
        track.state, track.answer, track.exception = SUCCESS, answered.retval, None
    elif answered.info.state in (FAILURE, RETRY):
        track.state, track.exception = answered.info.state, answered.info.retval
        track.traceback = getattr(answered.retval, "traceback", None)


@contextmanager
def _in_worker() -> Iterator[None]:
    """Let Celery refuse ``get()`` inside a task, as it does in a worker's process."""
    state: Any = _state  # its stubs leave this out
    before = state.task_join_will_block()
    state._set_task_join_will_block(True)
    try:
        yield
    finally:
        state._set_task_join_will_block(before)
