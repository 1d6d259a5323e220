"""A worker that runs the messages that a test lets through."""

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

from celery_defer.encoding import dumps
from celery_defer.ids import RunId
from celery_defer.model import REPLACED, WAITING, Call, CallState, Options
from celery_defer.outbox import cancel_run
from celery_defer.run import Block, DeferHeader, Phase, find, report_revoked
from celery_defer.testing.broker import Message
from celery_defer.testing.stand_ins import StandIns
from celery_defer.testing.tracks import Runs, Track


@dataclass(eq=False)
class SimulatedWorker:
    """Runs one message at a time, by Celery's own tracer, and records the outcome."""

    runs: Runs
    clock: Callable[[], float]
    stand_ins: StandIns = field(default_factory=StandIns)
    _revoked: set[str] = field(default_factory=set)

    @property
    def app(self) -> Any:
        return self.runs.app

    def record(self, message: Message) -> None:
        """Record the run of a published message, and the call of ``defer`` behind it."""
        track = Track(RunId(message.id), message.task, message.headers)
        self.runs.tracks.setdefault(message.id, track)
        header = DeferHeader.of(message.headers)
        if header is not None and not header.batch:
            parent = message.headers.get("parent_id") or ""
            calls = self.runs.store.calls.setdefault(parent, {})
            calls.setdefault(header.defer_id, _call(message, header))

    def control(self, command: Mapping[str, Any]) -> None:
        """Execute ``revoke``, also for parked runs; ignore other remote control commands."""
        if command["method"] != "revoke":
            return
        ids = command["arguments"]["task_id"]
        for id in [ids] if isinstance(ids, str) else ids:
            self._revoked.add(id)
            cancel_run(self.app, self.runs.store, RunId(id), only_parked=True, is_revoked=True)

    def deliver(self, message: Message) -> None:
        """Run a message, unless it has expired or its run was revoked."""
        track, task = self.runs.tracks[message.id], self._task(message.task)
        is_expired = message.expires is not None and message.expires <= self.clock()
        if is_expired or message.id in self._revoked:
            _revoke(self.app, track, task, message)
            return
        is_duplicate = track.has_ended  # another message has ended the run
        if stand_in := self.stand_ins.find(None, task.name):
            task = _with_body(task, stand_in.use)
        tracer = trace.build_tracer(task.name, task, app=self.app)
        with _in_worker():
            traced = tracer(message.id, message.args, message.kwargs, message.request())
        if not is_duplicate:
            _conclude(track, traced)

    def on_postrun(self, state: str, **_: Any) -> None:
        """Record the calls and the state of the run in progress, before its scope is gone."""
        scope = find()
        if scope is None or scope.app is not self.app or scope.is_eager:
            return
        track, buffer = self.runs.tracks[scope.run.id], scope.buffer
        track.passes += 1
        track.skipped += buffer.skipped
        track.variants = scope.run.experiments
        skipped = {call.id: call for call in buffer.skipped}
        self.runs.store.calls.setdefault(scope.run.id, {}).update(skipped | buffer.calls)
        if scope.ending.phase is Phase.PARKED:
            track.state = WAITING
            track.waits_for = scope.journal.waits_for if scope.journal else {}
        elif state in IGNORE_STATES:
            track.state = state

    def on_dropped(self, run_id: str, limit: str, reason: str, **_: Any) -> None:
        """Record that a limit has dropped a run."""
        if track := self.runs.tracks.get(run_id):
            track.state = REPLACED if limit == "debounce" else CallState.SKIPPED.value
            track.reason = reason

    def watch_block(self, block: Block) -> None:
        """Record a block of ``deferring()`` that has ended, or is published after a commit."""
        id, buffer, ending = block.run.id, block.buffer, block.ending
        track = self.runs.tracks.setdefault(id, Track(id, block.run.task, {}, passes=1))
        skipped = {call.id: call for call in buffer.skipped}
        self.runs.store.calls.setdefault(id, {}).update(skipped | buffer.calls)
        track.skipped = buffer.skipped
        track.exception = ending.result
        track.is_seen = True  # the block has raised to its caller
        if ending.phase is not Phase.RETURNED:
            track.state = FAILURE
        elif ending.commit or not buffer.waiting():
            track.state = SUCCESS

    def call_step(self, step: str, function: Callable[[], Any]) -> Any:
        """Call the function of a step, or what the test put in its place."""
        scope = find()
        assert scope is not None  # noqa: S101
        if not scope.is_eager:
            steps = self.runs.tracks[scope.run.id].steps
            steps[step] = steps.get(step, 0) + 1
        stand_in = self.stand_ins.find(step, scope.run.task)
        return stand_in.use() if stand_in else function()

    def _task(self, name: str) -> Any:
        if name not in self.app.tasks:
            self.app.loader.import_default_modules()  # as a worker does when it starts
        if name not in self.app.tasks:
            raise NotRegistered(name)
        return self.app.tasks[name]


def _with_body(task: Any, act: Callable[[], Any]) -> Any:
    """Return a copy of a task with another body."""
    other = object.__new__(type(task))  # celery.app.task.Task.__reduce__ prevents a copy
    # Not copied: the function, and what is wrapped around it.
    own = ("run", "_orig_run", "_defer_has_contract")
    vars(other).update({name: value for name, value in vars(task).items() if name not in own})
    other.run = lambda *_, **__: act()
    add_autoretry_behaviour(other)
    return other


def _call(message: Message, header: DeferHeader) -> Call:
    """Return the call that a message was published for."""
    payload = dumps([message.args, message.kwargs]).encode()
    options = Options(when=header.when)
    return Call(header.defer_id, message.task, payload, header.at, options)


def _revoke(app: Any, track: Track, task: Any, message: Message) -> None:
    request = Context(message.request())
    report_revoked(app, task.backend, request, stores=not request.ignore_result)
    track.state = REVOKED


def _conclude(track: Track, traced: Any) -> None:
    """Record what celery.app.trace.build_tracer.<locals>.trace_task has returned."""
    if traced.info is None:
        track.state, track.result, track.exception = SUCCESS, traced.retval, None
    elif traced.info.state in (FAILURE, RETRY):
        track.state, track.exception = traced.info.state, traced.info.retval
        track.traceback = getattr(traced.retval, "traceback", None)


@contextmanager
def _in_worker() -> Iterator[None]:
    """Let Celery refuse ``get()`` inside a task, as in a worker process."""
    state: Any = _state  # its stubs leave this out
    before = state.task_join_will_block()
    state._set_task_join_will_block(True)
    try:
        yield
    finally:
        state._set_task_join_will_block(before)
