"""What a running system says of itself: its store, its workers and their relays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from celery_defer.current import extension_of
from celery_defer.run import lifetime
from celery_defer.store import Details
from celery_defer.views import words
from celery_defer.views.check import Problem

# In seconds. A relay looks at least once a minute.
_MOST_SILENT = 90.0
_MOST_AHEAD = 5.0


@dataclass(frozen=True, slots=True)
class Live:
    """What was found: facts with their names, the same as values for scripts, and problems."""

    facts: Mapping[str, str]
    problems: list[Problem]
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker that has replied: for how long its relay has not looked, and its clock.

    ``silent`` is None if it has no relay, and ``ahead`` if it has not told the time.
    """

    name: str
    text: str
    store: str | None = None
    silent: float | None = None
    ahead: float | None = None

    @classmethod
    def of(cls, name: str, reply: Mapping[str, Any], asked: float, timeout: float) -> Worker:
        """Read a reply that was sent at most *timeout* seconds after it was *asked* for."""
        if "error" in reply:
            return cls(name, str(reply["error"]))
        store: str = reply["store"]
        if reply["looked_at"] is None:
            return cls(name, "it has no relay yet, or no store", store)
        silent, after = reply["now"] - reply["looked_at"], reply["now"] - asked
        ahead = after - min(max(after, 0.0), timeout)
        text = f"its relay looked {words.duration(silent)} ago; {store}"
        return cls(name, text, store, silent, ahead)


def look(app: Any, *, timeout: float = 1.0) -> Live:
    """Ask the store and the workers; wait *timeout* seconds for the workers' replies."""
    extension = extension_of(app)
    facts = {"store": extension.place, **_settings(extension.settings)}
    if extension.store is None:
        return Live(facts, [])
    details = extension.store.details()
    asked = extension.clock()
    workers = _workers(app, asked, timeout)
    facts |= _facts(details, app) | {f"worker {worker.name}": worker.text for worker in workers}
    problems = [*_of_store(details, app), *of_workers(workers)]
    return Live(facts, problems, _values(extension, details, app, workers))


def _workers(app: Any, asked: float, timeout: float) -> list[Worker]:
    """Return what each worker has replied; `celery_defer.app.status` is what it executes."""
    replies: Any = app.control.broadcast("defer", reply=True, timeout=timeout) or []
    pairs = sorted((name, reply) for each in replies for name, reply in each.items())
    return [Worker.of(name, reply, asked, timeout) for name, reply in pairs]


def _settings(settings: Any) -> dict[str, str]:
    if not settings.record:
        return {"records": "off (defer_record)"}
    texts = {"shown": "with payloads", "hidden": "without payloads"}
    return {"records": texts.get(_payloads(settings), "with masked payloads")}


def _payloads(settings: Any) -> str:
    return {True: "shown", False: "hidden"}.get(settings.record_payloads, "masked")


def _facts(details: Details, app: Any) -> dict[str, str]:
    facts = {
        "server": details.version,
        "persistence": details.persistence,
        "memory policy": details.policy,
        "clock": f"{words.duration(details.ahead)} ahead of the store's",
        "last record due": f"in {words.duration(details.last_due)}" if details.last_due else "",
        "results expire": words.duration(_expires(app)) if _expires(app) else "never",
    }
    if details.bytes_per_run is not None:
        facts["parked run"] = f"{details.bytes_per_run:,} bytes"
    return {name: text for name, text in facts.items() if text}


def _values(
    extension: Any, details: Details, app: Any, workers: Sequence[Worker]
) -> dict[str, Any]:
    """Return the facts for scripts; None where there is nothing, or it is not known."""
    settings = extension.settings
    return {
        "store": extension.place,
        "server": details.version,
        "persistence": details.persistence,
        "memory_policy": details.policy,
        "clock_ahead_seconds": details.ahead,
        "last_due_seconds": details.last_due or None,
        "results_expire_seconds": _expires(app) or None,
        "parked_run_bytes": details.bytes_per_run,
        "are_runs_recorded": settings.record,
        "payloads": _payloads(settings) if settings.record else None,
        "workers": [values_of(worker) for worker in workers],
    }


def values_of(worker: Worker) -> dict[str, Any]:
    """Return what a worker has replied, for scripts."""
    return {
        "name": worker.name,
        "store": worker.store,
        "relay_silent_seconds": worker.silent,
        "clock_ahead_seconds": worker.ahead,
    }


def _of_store(details: Details, app: Any) -> Iterator[Problem]:
    expires = _expires(app)
    if expires and details.last_due > expires:
        yield Problem(
            "warning",
            "result_expires",
            f"a run waits for {words.duration(details.last_due)} more, and results are kept for "
            f"{words.duration(expires)}: those of the others in its chord or group may be gone by "
            "then; set result_expires to more",
        )


def of_workers(workers: Sequence[Worker]) -> Iterator[Problem]:
    """Yield what is wrong with the workers."""
    if not workers:
        yield Problem(
            "error",
            "workers",
            "none has replied, so nobody wakes runs or publishes what is in the outbox: start a "
            "worker, or give it longer with --timeout",
        )
    for worker in workers:
        if worker.silent is None:
            yield Problem("error", worker.name, f"{worker.text}: look at its log")
        elif worker.silent > _MOST_SILENT:
            silent = words.duration(worker.silent)
            text = f"its relay has not looked for {silent}: look at its log, and restart it"
            yield Problem("error", worker.name, text)
        elif worker.ahead is not None and abs(worker.ahead) > _MOST_AHEAD:
            yield Problem(
                "warning",
                worker.name,
                f"its clock is {words.duration(worker.ahead)} ahead of this machine's: synchronize "
                "both, by NTP for example",
            )


def _expires(app: Any) -> float | None:
    expires = app.conf.result_expires
    return lifetime(expires) if isinstance(expires, timedelta) else expires
