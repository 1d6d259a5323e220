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
from celery_defer.outbox import cancel_run
from celery_defer.run import DeferHeader, Phase, find, report_revoked
from celery_defer.testing.broker import Message
from celery_defer.testing.stand_ins import StandIns
from celery_defer.testing.tracks import Runs, Track


@dataclass(eq=False)
class SimulatedWorker:
    """Runs one message at a time, by Celery's own tracer, and takes down what comes of it."""

    runs: Runs
    clock: Callable[[], float]
    stand_ins: StandIns = field(default_factory=StandIns)
    _revoked: set[str] = field(default_factory=set)

    @property
    def app(self) -> Any:
        return self.runs.app

    def published(self, message: Message) -> None:
        """Take down the run of a message, and the call of ``defer`` that it was made of."""
        track = Track(RunId(message.id), message.task, message.headers)
        self.runs.tracks.setdefault(message.id, track)
        if header := DeferHeader.of(message.headers):
            parent = message.headers.get("parent_id") or ""
            known = self.runs.store.calls.setdefault(parent, {})
            known.setdefault(header.defer_id, _call(message, header))

    def told(self, message: Mapping[str, Any]) -> None:
        """Do what is told to all workers: revoke runs, also those that are parked."""
        if message["method"] != "revoke":
            return
        ids = message["arguments"]["task_id"]
        for id in [ids] if isinstance(ids, str) else ids:
            self._revoked.add(id)
            self._end_parked(RunId(id))

    def deliver(self, message: Message) -> None:
        """Run a message, unless it has expired or its run was revoked."""
        track, task = self.runs.tracks[message.id], self._task(message.task)
        is_expired = message.expires is not None and message.expires <= self.clock()
        if is_expired or message.id in self._revoked:
            _revoke(self.app, track, task, message)
            return
        is_over = track.has_ended  # and this is a second message of the run
        if stand_in := self.stand_ins.find(None, task.name):
            task = _with_body(task, stand_in.take)
        tracer = trace.build_tracer(task.name, task, app=self.app)
        with _in_worker():
            answered = tracer(message.id, message.args, message.kwargs, message.request())
        if not is_over:
            _conclude(track, answered)

    def ended(self, state: str, **_: Any) -> None:
        """See what the run in progress has come to, before its scope is gone."""
        own = find()
        if own is None or own.app is not self.app or own.is_eager:
            return
        track = self.runs.tracks[own.run.id]
        track.passes += 1
        buffer = own.buffer
        track.skipped += buffer.skipped
        known = self.runs.store.calls.setdefault(own.run.id, {})
        known.update({call.id: call for call in buffer.skipped if call.id not in buffer.calls})
        known.update(buffer.calls)
        if own.ending.phase is Phase.PARKED:
            track.state = WAITING
            track.about = own.journal.waits_for if own.journal else {}
        elif state in IGNORE_STATES:
            track.state = state

    def call_step(self, step: str, function: Callable[[], Any]) -> Any:
        """Call the function of a step, or do what the test has take its place."""
        own = find()
        assert own is not None  # noqa: S101
        if not own.is_eager:
            steps = self.runs.tracks[own.run.id].steps
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
        cancel_run(self.app, self.runs.store, id, only_parked=True)


def _with_body(task: Any, act: Callable[[], Any]) -> Any:
    """Answer a task like this one, whose body does something else."""
    other = object.__new__(type(task))  # celery.app.task.Task.__reduce__ lets no copy be made
    # Of the task itself are its function and what is wrapped round that.
    own = ("run", "_orig_run", "_defer_wrapped")
    vars(other).update({name: value for name, value in vars(task).items() if name not in own})
    other.run = lambda *_, **__: act()
    add_autoretry_behaviour(other)
    return other


def _call(message: Message, header: DeferHeader) -> Call:
    """What a message tells of the call that it was published for."""
    payload = to_json([message.args, message.kwargs])
    options = Options(when=header.when)
    return Call(header.defer_id, message.task, payload, header.at, options)


def _revoke(app: Any, track: Track, task: Any, message: Message) -> None:
    request = Context(message.request())
    report_revoked(app, task.backend, request, stores=not request.ignore_result)
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
