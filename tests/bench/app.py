"""The app under test, as ``celery -A tests.bench.app worker`` loads it."""

from __future__ import annotations

import json
import os
from time import monotonic, process_time
from typing import Any

import redis
from celery import Celery

config: dict[str, Any] = json.loads(os.environ["DEFER_BENCH"])

app = Celery("bench", broker=config["broker"], backend=config["backend"])
app.conf.update(
    broker_write_url=config["broker_write"],
    task_default_queue=config["queue"],
    worker_hijack_root_logger=False,
    broker_transport_options={"confirm_publish": True} if config["confirms"] else {},
    defer_record=config["record"],
    # Where trips are counted, the relay's looks are not to be among those of a parent.
    defer_relay_interval=60 if config["broker_write"] != config["broker"] else 1,
)
records = redis.Redis.from_url(config["records"])
started: dict[str, float] = {}


def tell(**facts: float | str) -> None:
    """Hand facts to the bench."""
    records.rpush(config["queue"] + "-records", json.dumps(facts))


@app.task(name="bench.noop")
def noop() -> None:
    """Do nothing."""


@app.task(name="bench.hello")
def hello() -> None:
    """Say that the worker is up."""
    tell(who="worker")


@app.task(name="bench.gate")
def gate() -> None:
    """Hold the only child until the bench has published all that is to be drained."""
    if records.blpop([config["queue"] + "-gate"], timeout=120) is None:
        raise TimeoutError("nobody opened the gate")
    started.update(wall=monotonic(), cpu=process_time())


@app.task(name="bench.mark")
def mark() -> None:
    """Say how long it took since the gate."""
    tell(wall=monotonic() - started["wall"], cpu=process_time() - started["cpu"])


# A worker without the package does not even import it.
if config["defer"]:
    from celery_defer import Defer

    Defer(app)
    from tests.bench import parents  # noqa: F401
if config["timed"]:  # after that: what is timed includes it
    from tests.bench import clock

    clock.connect()
