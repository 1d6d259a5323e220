"""A worker, its broker and its clock, all in the hands of a test."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime, timezone
from time import time
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, overload
from uuid import uuid4

from celery_defer import durations
from celery_defer.contract import Deferrable, DeferredTask, deferrable, name_of, returns
from celery_defer.current import extension_of
from celery_defer.durations import Duration
from celery_defer.events import Event, Received, received, send_event
from celery_defer.ids import RunId
from celery_defer.model import Call, Outcome
from celery_defer.outbox import DeferredCalls, Relay, deliver
from celery_defer.run import Memo
from celery_defer.testing.broker import Message, Queue
from celery_defer.testing.run import SimulatedRun, SimulationError, find
from celery_defer.testing.stand_ins import task_name
from celery_defer.testing.store import SimulatedStore
from celery_defer.testing.swap import Ports, placed
from celery_defer.testing.tracks import Runs
from celery_defer.testing.worker import SimulatedWorker

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Simulation:
    """Runs the tasks of *app* here, with no broker, no Redis, no worker and no waiting.

    A context manager; with pytest, the fixture ``defer_simulation`` is one that ends with the
    test. In the block whatever the app publishes waits until the test lets it run, results and
    steps are kept in this process, and the time stands still until the test moves it; it begins
    at *now*, a datetime with a time zone, or at the real time. The app is as it was afterwards.

    At the end it raises SimulationError if a run has failed and neither the test has looked at it
    (its ``result``, ``state``, ``exception`` or ``traceback``) nor a run that has invoked it has
    received the failure; and for a ``fail_step`` or ``answer_step`` that no step has come to, or
    a ``fail_run`` or ``answer_run`` that no run has come to.

    >>> with Simulation(app) as sim:
    ...     order = sim.run(process_order, order_id=7)
    ...     assert order.deferred["receipt"].payload == {"order_id": 7}
    ...     sim.advance("7d")
    """

    def __init__(self, app: Any, *, now: datetime | None = None) -> None:
        if extension_of(app) is None:
            raise SimulationError(f"{app!r} has no Defer(app)")
        self.app = app
        #: With so many runs at one moment something is wrong.
        self.most_at_once = 20_000
        self._time = time() if now is None else _begin(now)
        self._ran_at_once = 0
        self._store = SimulatedStore()
        self._runs = Runs(app, self._store)
        self._worker = SimulatedWorker(self._runs, self._clock)
        self._queue = Queue(
            app.conf.accept_content, self._clock, self._worker.published, self._worker.told
        )
        self._placed = ExitStack()

    def __enter__(self) -> Simulation:
        if isinstance(vars(extension_of(self.app)).get("store"), SimulatedStore):
            raise SimulationError(f"{self.app!r} is in a simulation: use that one, or end it first")
        self._placed.enter_context(placed(self.app, self._ports()))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._placed.close()
        if error is None:
            self._check_runs()  # one that has failed may be why a step has not run
            self._check_steps()

    # -- what a test does --------------------------------------------------------------

    @overload
    def run(self, task: DeferredTask[P, R], /, *args: Any, **kwargs: Any) -> SimulatedRun[R]: ...
    @overload
    def run(self, task: Any, /, *args: Any, **kwargs: Any) -> SimulatedRun[Any]: ...
    def run(self, task: Any, /, *args: Any, **kwargs: Any) -> SimulatedRun[Any]:
        """Send a task, as ``task.delay(*args, **kwargs)`` does, and run it; nothing else runs.

        Publishing options come with a signature: ``sim.run(task.s(7).set(queue="mail"))``. With
        a countdown the run is left to ``advance``.

        >>> order = sim.run(process_order, order_id=7)
        """
        if not hasattr(task, "apply_async"):
            raise TypeError(
                f"run({name_of(task)}): this is no task and no signature of one: put @app.task on "
                "top of it; what with_options answers goes to run_deferred"
            )
        return self._run(task.apply_async(args, kwargs).id)

    def run_deferred(
        self, task: Deferrable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> SimulatedRun[R]:
        """Run a deferred function as ``defer`` has it run, without a parent.

        The payload is checked and goes through JSON, so the function is given parsed objects.
        Raises PayloadError.

        >>> run = sim.run_deferred(track_analytics, order_id="o-1", user_id="u1")
        """
        function = deferrable(task)
        options = function.options.model_copy(update={"when": "now"})
        payload = function.contract.pack(args, kwargs)
        call = Call("alone", function.contract.task, payload, self._time, options)
        parent = RunId(str(uuid4()))
        record = DeferredCalls(parent, parent, "", 0, Outcome.SUCCESS, self._time, {}, (call,))
        before = set(self._runs.tracks)
        deliver(self.app, record, Outcome.SUCCESS, uuid4().hex)
        (id,) = self._runs.tracks.keys() - before
        return self._run(id)

    def drain(self) -> list[SimulatedRun[Any]]:
        """Run all that is due, and what that publishes in turn; answer the runs in order.

        What has a countdown, sleeps or waits is left to ``advance`` and ``send_event``.
        """
        return self.advance(0)

    def advance(self, duration: Duration) -> list[SimulatedRun[Any]]:
        """Let time pass, and run all that becomes due, each run at its time.

        *duration* is in seconds, a timedelta, or text such as ``"7d"``. Answers the runs in
        order; one that ran several times is there as often. Raises ValueError for what is no
        duration, and if it is negative.

        >>> sim.advance("1h30m")
        """
        seconds = durations.read(duration)
        if seconds is None:
            raise ValueError(f"advance({duration!r}): give {durations.FORMS}")
        if seconds < 0:
            raise ValueError(f"advance({duration!r}): time does not go back")
        until = self._time + seconds
        ran = self._drain()
        while (due := self._next_due()) is not None and due <= until:
            self._move(max(due, self._time))
            self._look()
            ran += self._drain()
        self._move(until)
        return ran

    @overload
    def send_event(self, name: Event[T], data: T, *, id: str | None = None) -> int: ...
    @overload
    def send_event(self, name: str, data: object = None, *, id: str | None = None) -> int: ...
    def send_event(self, name: Any, data: object = None, *, id: str | None = None) -> int:
        """Send an event, and run those that it wakes; answer how many there were.

        Nothing else runs: what they defer waits for ``drain``.

        >>> sim.send_event("purchase/completed", {"order_id": "o-1"})
        """
        before = len(self._queue.waiting)
        woken = send_event(name, data, id=id)
        for message in self._queue.waiting[before:]:
            self._run(message.id)
        return woken

    def fail_step(
        self,
        step: str,
        error: BaseException | type[BaseException],
        *,
        times: int | None = 1,
        task: Any = None,
    ) -> None:
        """Let the next calls of a step's function raise *error*, in its place.

        So often as *times* says, or always with None; in any run, or in runs of *task*.

        >>> sim.fail_step("charge", GatewayDown("no answer"), times=2)
        """
        self._worker.stand_ins.fail(step, error, times, task)

    def answer_step(
        self, step: str, answer: object, *, times: int | None = None, task: Any = None
    ) -> None:
        """Let a step have *answer*, and do not call its function.

        The answer goes through JSON by the return annotation of the function, as one of its own
        does. Always, or so often as *times* says; in any run, or in runs of *task*. What is said
        with ``times`` comes first, also a ``fail_step``.

        >>> sim.answer_step("charge", {"id": "ch_1"})
        """
        self._worker.stand_ins.answer(step, answer, times, task)

    def fail_run(
        self, task: Any, error: BaseException | type[BaseException], *, times: int | None = 1
    ) -> None:
        """Let the next runs of *task* raise *error* in place of their body.

        So often as *times* says, or always with None; each retry of a run counts.

        >>> sim.fail_run(make_invoice, GatewayDown("no answer"))
        """
        self._worker.stand_ins.fail(None, error, times, task)

    def answer_run(self, task: Any, answer: object, *, times: int | None = None) -> None:
        """Let the runs of *task* end with *answer*, and do not run their body.

        Also those that are deferred or invoked; the payload is still checked. Always, or so often
        as *times* says, which comes first, as in ``answer_step``.

        >>> sim.answer_run(make_invoice, "inv_1")
        """
        self._worker.stand_ins.answer(None, answer, times, task)

    # -- what a test sees --------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """The time in the simulation, in UTC."""
        return datetime.fromtimestamp(self._time, timezone.utc)

    @property
    def runs(self) -> list[SimulatedRun[Any]]:
        """All runs that were published, in order."""
        return [SimulatedRun(self._runs, track) for track in self._runs.tracks.values()]

    @property
    def events(self) -> list[Received[Any]]:
        """All events that were sent, in order, also those that woke no run; data is plain JSON.

        >>> assert [event.name for event in sim.events] == []
        """
        memos = [Memo.unpack(event.memo) for event in self._store.sent]
        events = [received("events", memo, returns.ANYTHING) for memo in memos]
        return [event for event in events if event is not None]

    def runs_of(self, task: Any) -> list[SimulatedRun[Any]]:
        """The runs of a task, in order of their publication.

        >>> (order,) = sim.runs_of(process_order)
        """
        name = task_name(task)
        return [run for run in self.runs if run.task == name]

    def find(self, id: str) -> SimulatedRun[Any]:
        """Answer the run with this id; raise SimulationError if none was published.

        >>> order = sim.find(process_order.delay(7).id)
        """
        found = find(self._runs, id)
        if found is None:
            raise SimulationError(f"no run {id} was published; there are: {self.runs}")
        return found

    # -- private -----------------------------------------------------------------------

    def _ports(self) -> Ports:
        return Ports(
            queue=self._queue,
            store=self._store,
            clock=self._clock,
            now=lambda: self.now.astimezone(self.app.timezone),
            drain=self.drain,
            call_step=self._worker.call_step,
            ended=self._worker.ended,
        )

    def _clock(self) -> float:
        return self._time

    def _run(self, id: str) -> SimulatedRun[Any]:
        message = self._queue.take(self._time, id)
        if message is not None:
            self._deliver(message)
        return self.find(id)

    def _drain(self) -> list[SimulatedRun[Any]]:
        ran = []
        while message := self._queue.take(self._time):
            self._deliver(message)
            ran.append(self.find(message.id))
        return ran

    def _deliver(self, message: Message) -> None:
        self._ran_at_once += 1
        if self._ran_at_once > self.most_at_once:
            raise SimulationError(
                f"{self.most_at_once} runs, and no time has passed: does {message.task} send "
                "itself?"
            )
        self._worker.deliver(message)

    def _next_due(self) -> float | None:
        due = [message.due for message in self._queue.waiting]
        kept = self._store.next_due_of(self._runs.has_ended)
        return min([*due, kept] if kept is not None else due, default=None)

    def _move(self, to: float) -> None:
        if to > self._time:
            self._time, self._ran_at_once = to, 0

    def _look(self) -> None:
        """Do what the relay of a worker does."""
        settings = extension_of(self.app).settings
        Relay(self.app, self._store, settings).tick(self._time)

    def _check_runs(self) -> None:
        for track in self._runs.tracks.values():
            if track.is_unseen_failure and not self._runs.is_received(track):
                raise SimulationError(
                    f"{SimulatedRun(self._runs, track)!r} has failed, and the test has not "
                    "looked at its result, state or exception"
                ) from track.exception

    def _check_steps(self) -> None:
        if missed := self._worker.stand_ins.missed(self._runs):
            raise SimulationError("; ".join(missed))


def _begin(now: datetime) -> float:
    if durations.is_moment(now):
        return now.timestamp()
    raise ValueError(
        f"now={now!r}: give a datetime with a time zone, such as "
        "datetime(2030, 1, 7, 9, tzinfo=timezone.utc)"
    )
