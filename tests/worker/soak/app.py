"""The app of the workers that are killed: ``celery -A tests.worker.soak.app worker``.

Everything that happens is told in one Redis list, each event by one atomic RPUSH, so that
the list is true to the moment a process was killed. See events.py for what there is.
"""

from __future__ import annotations

import os
import signal
from importlib import import_module
from random import SystemRandom
from typing import Any

from celery import Celery, Task, current_task, signals
from kombu.transport.redis import Channel

from celery_defer import Defer, current_run, defer, deferred, send_event, step
from celery_defer.model import HEADER
from celery_defer.run import WAKE, WakeHeader
from celery_defer.run.in_progress import find
from tests.support import commit
from tests.worker.soak.events import EVENTS, Event, Plan
from tests.worker.soak.journeys import EVENT, Journey

QUEUE = "soak"
PREFIX = "soak-defer:"
VISIBILITY = 6

app = Celery("soak", set_as_current=True)
app.conf.update(
    task_default_queue=QUEUE,
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        # A killed worker's messages come back in seconds; all of kombu's clocks must agree.
        "visibility_timeout": VISIBILITY,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        # Who is killed while it gives messages back holds this lock, by default for 300 s.
        "unacked_mutex_expire": 3,
    },
    worker_prefetch_multiplier=1,
    defer_grace=1,
    defer_relay_interval=0.2,
    defer_key_prefix=PREFIX,
    **commit.settings(),
)
#: How likely a pool's child dies at each of the two moments that matter most, where there is
#: something to publish.
_RISK = float(os.environ.get("SOAK_RISK", "0"))
_dice = SystemRandom()
_is_child = False


@signals.worker_process_init.connect
def _on_child(**_: Any) -> None:
    global _is_child  # noqa: PLW0603
    _is_child = True


def _die_now_and_then(moment: str) -> None:
    own = find()
    if _is_child and own and own.has_deferred and _dice.random() < _RISK:
        tell(Event("killed", moment))
        os.kill(os.getpid(), signal.SIGKILL)


@signals.task_success.connect
def _on_stored(**_: Any) -> None:
    """Connected before the package is: the result is stored, and nothing is published yet."""
    _die_now_and_then("child, before publishing")


Defer(app)
# A wake-up that was lost is sent again in seconds: an hour is longer than a soak.
import_module("celery_defer.outbox.wake")._PATIENCE = 2.0 * VISIBILITY  # type: ignore[attr-defined]

_LATE = {"acks_late": True, "reject_on_worker_lost": True}


class Unlucky(Exception):
    """What a body raises that is to fail."""


def tell(event: Event) -> None:
    app.backend.client.rpush(EVENTS, event.pack())


# -- what a run does ------------------------------------------------------------------------


def perform(task: Task, plan: Plan) -> None:
    """Do as *plan* says: tell of the start, defer, end in one of three ways, tell of the end."""
    request = task.request
    header = request.get(HEADER) or {}
    seen = {
        "token": header.get("token", ""),
        "again": bool((request.delivery_info or {}).get("redelivered") or request.retries),
    }
    tell(Event("start", request.id, **seen))
    for call in plan.calls:
        function = FUNCTIONS[call.plan.kind]
        defer(call.id, function.with_options(when=call.when), plan=call.plan)
    if plan.ending == "retry" and current_run().attempt == 1:
        raise task.retry(countdown=0, max_retries=2)
    if plan.ending == "fail":
        tell(Event("raise", request.id, **seen))
        raise Unlucky
    tell(Event("done", request.id, **seen))


@deferred(app, bind=True, name="early")
def early(self: Any, plan: Plan) -> None:
    perform(self, plan)


@deferred(app, bind=True, name="late", **_LATE)
def late(self: Any, plan: Plan) -> None:
    perform(self, plan)


@deferred(app, bind=True, name="quiet", ignore_result=True, **_LATE)
def quiet(self: Any, plan: Plan) -> None:
    perform(self, plan)


FUNCTIONS: dict[str, Any] = {"early": early, "late": late, "quiet": quiet}


@app.task(bind=True, name="parent.early")
def parent_early(self: Any, plan: dict[str, Any]) -> None:
    perform(self, Plan.model_validate(plan))


@app.task(bind=True, name="parent.late", **_LATE)
def parent_late(self: Any, plan: dict[str, Any]) -> None:
    perform(self, Plan.model_validate(plan))


@app.task(bind=True, name="parent.quiet", ignore_result=True, **_LATE)
def parent_quiet(self: Any, plan: dict[str, Any]) -> None:
    perform(self, Plan.model_validate(plan))


# -- runs with steps ----------------------------------------------------------------------------


@app.task(bind=True, name="journey", **_LATE)
def journey(self: Task, plan: dict[str, Any]) -> None:
    """Go leg by leg; tell of each what the body has seen of it."""
    request = self.request
    seen = {"again": bool((request.delivery_info or {}).get("redelivered"))}
    tell(Event("start", request.id, **_wake(request), **seen))
    for number, leg in enumerate(Journey.model_validate(plan).legs):
        _go(request.id, number, leg.kind, leg.seconds)
    tell(Event("done", request.id, **seen))


def _go(id: str, number: int, kind: str, seconds: float) -> None:
    if kind == "sleep":
        step.sleep(f"leg-{number}", seconds)
    elif kind == "wait":
        match = {"run": id, "leg": number}
        received = step.wait_for_event(f"leg-{number}", EVENT, timeout=seconds, match=match)
        tell(Event("got", id, token=received.id if received else "nothing", leg=number))
    else:
        step.run(f"leg-{number}", _do, id, number)
        tell(Event("kept", id, leg=number))


def _do(id: str, number: int) -> int:
    tell(Event("step", id, leg=number))
    return number


def _wake(request: Any) -> dict[str, Any]:
    wake = WakeHeader.of(vars(request))
    return {"token": wake.token, "leg": wake.turn} if wake else {"leg": 0}


@app.task(name="teller", **_LATE)
def teller(data: dict[str, Any], id: str | None) -> None:
    send_event(EVENT, data, id=id)


# -- what is seen outside the bodies ----------------------------------------------------------


@signals.task_received.connect
def _on_received(request: Any, **_: Any) -> None:
    token = request.request_dict.get(WAKE, {}).get("token", "")
    tell(Event("received", request.id, token=token, pid=os.getpid()))


@signals.task_success.connect
def _on_success(sender: Any, **_: Any) -> None:
    tell(Event("success", current_task.request.id))
    _die_now_and_then("child, after publishing")


_put = Channel._put


def _put_and_tell(self: Any, queue: str, message: Any, **kwargs: Any) -> Any:
    """Let a publication tell of itself in the very pipeline in which it travels.

    Not so a message that is restored: that goes another way.
    """
    headers = message["headers"]
    own = headers.get(WAKE) or headers.get(HEADER)
    if "id" in headers and own:
        event = Event("published", headers["id"], token=own["token"]).pack()
        batch = kwargs.get("_publish_batch")
        if batch is not None:
            batch.add("rpush", EVENTS, event)
        else:
            with self.conn_or_acquire() as client:
                client.rpush(EVENTS, event)
    return _put(self, queue, message, **kwargs)


def tell_publications() -> None:
    """Tell of each publication of this process: a worker, or who sends events to runs."""
    Channel._put = _put_and_tell


if "SOAK_RISK" in os.environ:  # in a worker of the soak, not in a test that imports this
    tell_publications()
