"""The app of the workers whose functions have limits: ``celery -A tests.worker.flow.app worker``.

The environment says the rest:

- CELERY_BROKER_URL, CELERY_RESULT_BACKEND: Celery's own variables
- FLOW_SETTINGS: further settings, as JSON
- FLOW_AT_ONCE: how many bodies of a key may be in progress, for a version of its own
- FLOW_CLOCK: by how many seconds the clock of this worker is wrong
- FLOW_APART: 1 to give back places after the result is stored, not with it
- FLOW_UNKNOWN: names of functions that this version does not have
"""

from __future__ import annotations

import json
import os
import time
from types import SimpleNamespace
from typing import Any

from celery import Celery

from celery_defer import Concurrency, Defer, Throttle, deferred
from tests.support import commit
from tests.support.lost_children import see_at_once
from tests.worker.flow import points
from tests.worker.flow.witness import executing

QUEUE = "flow"
PREFIX = "flow-defer:"
VISIBILITY = 4
#: How many bodies of a key may be in progress.
AT_ONCE = 3
#: How many may start in how many seconds.
STARTS, PERIOD = 40, 4.0
LEASE = 2.0

_LATE: dict[str, Any] = {"acks_late": True, "reject_on_worker_lost": True}


def transport(broker: str, visibility: float = VISIBILITY) -> dict[str, float]:
    """Return what a Redis that is the broker needs: a killed worker's messages come back soon.

    All of kombu's clocks must agree.
    """
    if not broker.startswith("redis"):
        return {}
    return {
        "visibility_timeout": visibility,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": 3,
    }


def settings(broker: str) -> dict[str, Any]:
    """Return the settings of the workers, and of who sends to them."""
    return {
        "task_default_queue": QUEUE,
        "broker_connection_retry_on_startup": True,
        "broker_transport_options": transport(broker),
        "worker_prefetch_multiplier": 1,
        "defer_grace": 1,
        "defer_relay_interval": 0.2,
        "defer_lease": LEASE,
        "defer_key_prefix": PREFIX,
        **commit.settings(),
    }


def declare(app: Any, at_once: int = AT_ONCE) -> SimpleNamespace:
    """Declare the functions of *app*."""
    places = Concurrency(at_once, key="customer")

    @deferred(app, name="flow.sync", shared=False, concurrency=places, **_LATE)
    def sync(customer: str, call: str, seconds: float) -> None:
        """Speak to the slow system of a customer, which takes so many connections."""
        with executing(customer, call):
            time.sleep(seconds)

    @deferred(app, name="flow.gated", shared=False, concurrency=places, **_LATE)
    def gated(customer: str, call: str) -> None:
        """Execute until the call is let go."""
        with executing(customer, call):
            while not app.backend.client.exists(f"go:{call}"):
                time.sleep(0.01)

    pace = Throttle(STARTS, PERIOD, key="customer")

    @deferred(app, name="flow.notify", shared=False, throttle=pace, **_LATE)
    def notify(customer: str, call: str) -> None:
        """Speak to a system of a customer that takes so many requests in a while."""
        with executing(customer, call):
            pass

    return SimpleNamespace(sync=sync, gated=gated, notify=notify)


app = Celery("flow", set_as_current=False)
app.conf.update(settings(os.environ.get("CELERY_BROKER_URL", "")))
app.conf.update(json.loads(os.environ.get("FLOW_SETTINGS", "{}")))
extension = Defer(app)
functions = declare(app, int(os.environ.get("FLOW_AT_ONCE", str(AT_ONCE))))
for name in os.environ.get("FLOW_UNKNOWN", "").split():
    app.tasks.unregister(f"flow.{name}")
if wrong := float(os.environ.get("FLOW_CLOCK", "0")):
    extension.clock = lambda: time.time() + wrong
if "FLOW_SETTINGS" in os.environ:  # it is a worker, and no client in the process of a test
    points.install(app)
    see_at_once()
