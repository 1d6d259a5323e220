"""An app that runs inside a test, which moves its clock."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime
from time import time
from types import TracebackType
from typing import Any, ParamSpec, TypeVar, overload
from uuid import uuid4

from celery_defer import durations
from celery_defer.contract import Deferrable, DeferredTask, deferrable, name_of
from celery_defer.current import extension_of
from celery_defer.durations import Duration
from celery_defer.events import Event, Woken, send_event
from celery_defer.ids import RunId
from celery_defer.model import Call, Outcome
from celery_defer.outbox import DeferredCalls, deliver
from celery_defer.testing.engine import Engine
from celery_defer.testing.run import SimulatedRun, SimulationError
from celery_defer.testing.store import SimulatedStore
from celery_defer.testing.swap import simulated
from celery_defer.testing.view import SimulationView
from celery_defer.testing.waiting import Nobody

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Simulation(SimulationView):
    """Runs the tasks of *app* here, with no broker, no Redis, no worker and no waiting.

    A context manager; the pytest fixture ``defer_simulation`` returns one that ends with the test.
    In the block, what the app publishes waits until the test runs it, results and steps are kept
    in this process, and the clock stands still until the test moves it. It starts at *now*, a
    datetime with a time zone, or at the real time. Afterwards the app is as it was before.

    At the end it raises SimulationError for a run that failed if the test has not looked at it
    (its ``result``, ``state``, ``exception`` or ``traceback``) and no run that invoked it has
    received the failure; and for a ``fail_step``, ``answer_step``, ``fail_run`` or ``answer_run``
    that fitted no step or run.

    >>> with Simulation(app) as sim:
    ...     order = sim.run(process_order, order_id=7)
    ...     assert order.deferred["receipt"].payload == {"order_id": 7}
    ...     sim.advance("7d")
    """

    def __init__(self, app: Any, *, now: datetime | None = None) -> None:
        if extension_of(app) is None:
            raise SimulationError(f"{app!r} has no Defer(app)")
        self.app = app
        #: How many runs there may be at one moment; with more, something is wrong.
        self.most_at_once = 20_000
        # In whole milliseconds, as a test sees the end of a wait.
        start = round(time(), 3) if now is None else _seconds(now)
        super().__init__(Engine(app, start, lambda: self.most_at_once))
        self._stand_ins = self._engine.worker.stand_ins
        self._exits = ExitStack()

    def __enter__(self) -> Simulation:
        if isinstance(vars(extension_of(self.app)).get("store"), SimulatedStore):
            raise SimulationError(f"{self.app!r} is in a simulation: use that one, or end it first")
        self._exits.enter_context(simulated(self.app, self._engine.ports))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exits.close()
        if error is None:
            self._check_runs()  # a failed run may be why a step has not run
            self._check_stand_ins()

    @overload
    def run(self, task: DeferredTask[P, R], /, *args: Any, **kwargs: Any) -> SimulatedRun[R]: ...
    @overload
    def run(self, task: Any, /, *args: Any, **kwargs: Any) -> SimulatedRun[Any]: ...
    def run(self, task: Any, /, *args: Any, **kwargs: Any) -> SimulatedRun[Any]:
        """Send a task, as ``task.delay(*args, **kwargs)`` does, and run it; nothing else runs.

        Use a signature for publishing options: ``sim.run(task.s(7).set(queue="mail"))``. A run
        with a countdown waits for ``advance``.

        >>> order = sim.run(process_order, order_id=7)
        """
        if not hasattr(task, "apply_async"):
            raise TypeError(
                f"run({name_of(task)}): this is not a task, nor a signature of one: put @app.task "
                "on top of it; for what with_options returns, use run_deferred"
            )
        return self._run(task.apply_async(args, kwargs).id)

    def run_deferred(
        self, task: Deferrable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> SimulatedRun[R]:
        """Run a deferred function as a call of ``defer`` would, without a parent.

        The payload is checked and goes through JSON, so the function gets parsed objects. Raises
        PayloadError.

        >>> run = sim.run_deferred(track_analytics, order_id="o-1", user_id="u1")
        """
        function = deferrable(task)
        options = function.options.model_copy(update={"when": "now"})
        payload = function.contract.pack(args, kwargs)
        call = Call("alone", function.contract.task, payload, self._engine.time, options)
        parent = RunId(str(uuid4()))
        record = DeferredCalls(parent, parent, "", 0, Outcome.SUCCESS, call.at, {}, (call,))
        before = set(self._runs.tracks)
        deliver(self.app, record, Outcome.SUCCESS, uuid4().hex, gathers=False)
        (id,) = self._runs.tracks.keys() - before
        return self._run(id)

    def drain(self) -> list[SimulatedRun[Any]]:
        """Run all that is due, and what that publishes in turn; return the runs in order.

        Runs with a countdown, and runs that wait, are left to ``advance`` and ``send_event``.
        """
        return self.advance(0)

    def advance(self, duration: Duration) -> list[SimulatedRun[Any]]:
        """Let time pass, and run all that becomes due, each run at its time.

        *duration* is in seconds, a timedelta, or text such as ``"7d"``. Returns the runs in
        order; a run that ran several times is in the list as often. Raises ValueError if
        *duration* is negative or not a duration.

        >>> sim.advance("1h30m")
        """
        seconds = durations.read(duration)
        if seconds is None:
            raise ValueError(f"advance({duration!r}): give {durations.FORMS}")
        if seconds < 0:
            raise ValueError(f"advance({duration!r}): time does not go back")
        return [self.find(id) for id in self._engine.advance(seconds)]

    @overload
    def send_event(
        self, name: Event[T], data: T | Mapping[str, Any], *, id: str | None = None
    ) -> Woken: ...
    @overload
    def send_event(self, name: str, data: object = None, *, id: str | None = None) -> Woken: ...
    def send_event(self, name: Any, data: object = None, *, id: str | None = None) -> Woken:
        """Send an event, and run the runs that it wakes; return how many there were.

        Nothing else runs: what these defer waits for ``drain``.

        >>> sim.send_event("purchase/completed", {"order_id": "o-1"})
        """
        waiting = self._engine.queue.waiting
        before = len(waiting)
        woken = send_event(name, data, id=id)
        if woken.has_more:
            self._engine.continue_fan_out()
        messages = waiting[before:]
        for message in messages:
            self._run(message.id)
        if woken.cancelled:
            self._engine.end_cancelled()
            return Woken(len(messages), is_repeat=woken.is_repeat, cancelled=woken.cancelled)
        if not messages:
            waits = {repr(run): run.waits_for for run in self.runs}
            return Nobody.of(waits, is_repeat=woken.is_repeat)
        return Woken(len(messages), is_repeat=woken.is_repeat)

    def fail_step(
        self,
        step: str,
        error: BaseException | type[BaseException],
        *,
        times: int | None = 1,
        task: Any = None,
    ) -> None:
        """Let the next calls of a step's function raise *error* instead.

        This happens *times* times, or always if None; in all runs, or in runs of *task*.

        >>> sim.fail_step("charge", GatewayDown("no answer"), times=2)
        """
        self._stand_ins.fail(step, error, times, task)

    def answer_step(
        self, step: str, answer: object, *, times: int | None = None, task: Any = None
    ) -> None:
        """Let a step return *answer*, without calling its function.

        The value goes through JSON by the function's return annotation, as a real one would. This
        happens always, or *times* times; in all runs, or in runs of *task*. Calls with ``times``
        come first, also those of ``fail_step``.

        >>> sim.answer_step("charge", {"id": "ch_1"})
        """
        self._stand_ins.answer(step, answer, times, task)

    def fail_run(
        self, task: Any, error: BaseException | type[BaseException], *, times: int | None = 1
    ) -> None:
        """Let the next runs of *task* raise *error*, without running their body.

        This happens *times* times, or always if None; each retry of a run counts.

        >>> sim.fail_run(make_invoice, GatewayDown("no answer"))
        """
        self._stand_ins.fail(None, error, times, task)

    def answer_run(self, task: Any, answer: object, *, times: int | None = None) -> None:
        """Let the runs of *task* return *answer*, without running their body.

        Deferred and invoked runs too; their payload is still checked. This happens always, or
        *times* times; calls with ``times`` come first, as in ``answer_step``.

        >>> sim.answer_run(make_invoice, "inv_1")
        """
        self._stand_ins.answer(None, answer, times, task)

    # -- private -----------------------------------------------------------------------

    def _run(self, id: str) -> SimulatedRun[Any]:
        self._engine.run(id)
        return self.find(id)

    def _check_runs(self) -> None:
        for track in self._runs.tracks.values():
            if track.is_unseen_failure and not self._runs.is_received(track):
                raise SimulationError(
                    f"{SimulatedRun(self._runs, track)!r} has failed, and the test has not "
                    "looked at its result, state or exception"
                ) from track.exception

    def _check_stand_ins(self) -> None:
        if unmatched := self._stand_ins.unmatched(self._runs):
            raise SimulationError("; ".join(unmatched))


def _seconds(now: datetime) -> float:
    if durations.is_moment(now):
        return now.timestamp()
    raise ValueError(
        f"now={now!r}: give a datetime with a time zone, such as "
        "datetime(2030, 1, 7, 9, tzinfo=timezone.utc)"
    )
