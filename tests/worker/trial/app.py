"""The app of the workers that are killed: ``celery -A tests.worker.trial.app worker``.

A visit takes a variant and defers its scorers; one of them waits for a purchase, and defers another
for what was spent. Processes kill themselves at the moments that matter most, each at most once for
a run.
"""

from __future__ import annotations

import os
import signal
from importlib import import_module
from typing import Any

from celery import Celery, Task, signals

from celery_defer import Choice, Defer, Score, bucket, defer, experiment, scorer, step
from celery_defer.signals import score_recorded
from tests.support import commit
from tests.worker.trial.visitors import EXPERIMENT, LARGE, SAMPLE, VARIANTS, dies

QUEUE = "trial"
PREFIX = "trial-defer:"
PURCHASE = "trial/purchase"
#: Redis sets: which variant a visit has taken, in each attempt; who has died.
SEEN, DIED = "trial:seen", "trial:died"
VISIBILITY = 3
#: What a Redis that is the broker needs: a killed worker's messages come back in seconds, and all
#: of kombu's clocks agree.
REDIS_OPTIONS = {
    "visibility_timeout": VISIBILITY,
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
    "unacked_mutex_expire": 3,
}

_LATE: dict[str, Any] = {"acks_late": True, "reject_on_worker_lost": True}
_is_child = False

app = Celery("trial", set_as_current=True)
app.conf.update(
    task_default_queue=QUEUE,
    broker_connection_retry_on_startup=True,
    broker_transport_options=(
        REDIS_OPTIONS if os.environ.get("CELERY_BROKER_URL", "").startswith("redis") else {}
    ),
    worker_prefetch_multiplier=1,
    defer_grace=1,
    defer_relay_interval=0.2,
    defer_key_prefix=PREFIX,
    **commit.settings(),
)


@signals.worker_process_init.connect
def _on_child(**_: Any) -> None:
    global _is_child  # noqa: PLW0603
    _is_child = True


def die_once(moment: str, id: str) -> None:
    """Kill this process at a moment of a run, if that is drawn for it."""
    if _is_child and dies(moment, id) and app.backend.client.sadd(DIED, f"{moment}: {id}"):
        os.kill(os.getpid(), signal.SIGKILL)


@signals.task_success.connect
def _on_success(sender: Task, **_: Any) -> None:
    """Connected before the package is: the result is stored, and nothing is published yet."""
    die_once("its result was stored", sender.request.id)


Defer(app)
# A wake-up that was lost is sent again in seconds: an hour is longer than a trial.
import_module("celery_defer.outbox.wake")._PATIENCE = 2.0 * VISIBILITY  # type: ignore[attr-defined]


@score_recorded.connect
def _on_score(scorer_id: str, **_: Any) -> None:
    """The score is written, and the result of the run that wrote it is not stored."""
    die_once("its score was written", scorer_id)


@app.task(bind=True, name="visit", **_LATE)
def visit(self: Task, plan: str, patience: dict[str, float]) -> str:
    """Return the variant that the visit has taken."""
    is_again = bool(self.request.delivery_info.get("redelivered"))
    select = _turned if is_again else bucket(self.request.id)
    taken = experiment(EXPERIMENT, dict.fromkeys(VARIANTS, str), select=select)
    app.backend.client.sadd(SEEN, f"{self.request.id} {taken.variant}")
    die_once("a variant was taken", self.request.id)
    if plan in ("followed", "silent"):
        defer(
            "bought", bought,
            visit=self.request.id, patience=patience[taken.variant], speaks=plan == "followed",
        )  # fmt: skip
    elif plan == "sampled":
        defer("polite", polite)
    elif plan == "failing":
        raise ValueError("this visit fails")
    return taken.variant


def _turned(choice: Choice) -> str:
    """Choose as another deploy does, which a visit meets that is delivered again."""
    return next(name for name in VARIANTS if name != bucket(choice.run_id)(choice))


@scorer(app, name="bought", **_LATE)
def bought(visit: str, patience: float, speaks: bool) -> Score | None:
    purchase = step.wait_for_event("purchase", PURCHASE, timeout=patience, match={"visit": visit})
    die_once("its wait was over", visit)
    if not speaks:
        return None
    if purchase is not None:
        defer("spent", spent, amount=purchase.data["amount"])
    return Score("bought", purchase is not None, source="shop")


@scorer(app, name="spent", **_LATE)
def spent(amount: float) -> list[Score]:
    """Score the run that has waited; this counts for the variant of the visit."""
    return [Score("spent", amount), Score("large", amount > LARGE)]


@scorer(app, sample=SAMPLE, name="polite", **_LATE)
def polite() -> Score:
    return Score("polite", 1)
