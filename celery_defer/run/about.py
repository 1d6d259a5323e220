"""What a run is, for its history: its task, its parent, its tags, its payload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic_core import to_json

from celery_defer import encoding, guard
from celery_defer.contract import parents_in, without_parents
from celery_defer.ids import RunId
from celery_defer.model import Call
from celery_defer.run.scope import Scope
from celery_defer.settings import Settings

logger = guard.logger(__name__)

#: What stands for a value that is hidden.
HIDDEN = "***"
#: Of each experiment that a run carries: its name, the variant, and the run that has taken it.
Taken = tuple[tuple[str, str, RunId], ...]

# A longer payload is not in a record.
_MOST_PAYLOAD = 16 * 1024
_MOST_CALLS = 1_000


def about_call(settings: Settings, parent: RunId, root: RunId, call: Call) -> bytes:
    """Return what a deferred run is, for its history."""
    about: dict[str, Any] = {"t": call.task, "d": call.step or call.id, "p": parent}
    if root != parent:
        about["r"] = root
    if call.step:
        about["s"] = 1
    if call.options.when != "success":
        about["w"] = call.options.when
    if call.options.countdown:
        about["b"] = call.options.countdown
    if call.options.eta:
        about["z"] = call.options.eta.timestamp()
    if call.tags:
        about["g"] = call.tags
    if call.experiments:
        about["v"] = in_short(call.experiments, parent)
    if call.reason:
        about["e"] = call.reason
    if refused := refused_by(settings, call):
        about["x"] = refused
    payload = _payload(settings, call.task, call.payload)
    whole = to_json(about)
    return encoding.shorten(whole if payload is None else b'%b,"a":%b}' % (whole[:-1], payload))


def about_run(run: Scope) -> bytes:
    """Return what a run is; for a deferred run, in case nobody else has said so."""
    if run.header is None and not run.tags and run.run.root_id == run.run.id:
        return _about_task(run.run.task)
    about: dict[str, Any] = {"t": run.run.task}
    if run.run.parent:
        about |= {"d": run.run.parent.defer_id, "p": run.run.parent.id}
    elif parent := run.request.get("parent_id"):
        about["p"] = parent
    if run.run.root_id not in (run.run.id, about.get("p")):
        about["r"] = run.run.root_id
    if run.tags:
        about["g"] = run.tags
    if run.header and run.header.experiments:
        about["v"] = in_short(run.header.experiments, about.get("p"))
    return encoding.shorten(to_json(about))


def about_batch(settings: Settings, task: str, calls: Sequence[RunId], payload: bytes) -> bytes:
    """Return what the run of a batch is: of its calls it names the first thousand."""
    about: dict[str, Any] = {"t": task, "m": calls[:_MOST_CALLS]}
    json = _payload(settings, task, payload)
    whole = to_json(about)
    return encoding.shorten(whole if json is None else b'%b,"a":%b}' % (whole[:-1], json))


def listed(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the lists that a run with these tags is in."""
    return tuple(f"{key}={value}" for key, value in tags.items())


def shown(arguments: Any) -> Any:
    """Return the ``[args, kwargs]`` of a message as people read them."""
    args, kwargs = arguments
    if parents_in(args, kwargs):
        return without_parents(next(iter([*args, *kwargs.values()])))
    if len(args) == 1 and isinstance(args[0], dict) and not kwargs:
        return args[0]  # the fields of a schema
    return {**({"args": args} if args else {}), **kwargs}


def refused_by(settings: Settings, call: Call) -> str | None:
    """Return the arguments of a refused call; None if payloads are hidden or masked."""
    return call.refused if settings.record_payloads is True else None


def taken(experiments: Mapping[str, tuple[str, RunId]]) -> Taken:
    return tuple((name, variant, run) for name, (variant, run) in experiments.items())


def in_short(
    experiments: Mapping[str, tuple[str, RunId]], usual: RunId | None
) -> dict[str, list[str]]:
    """Return experiments as a history has them: without the run, if the *usual* one took it."""
    return {
        name: [variant] if run == usual else [variant, run]
        for name, (variant, run) in experiments.items()
    }


# -- private ------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _about_task(task: str) -> bytes:
    return to_json({"t": task})


def _payload(settings: Settings, task: str, payload: bytes) -> bytes | None:
    mask = settings.record_payloads
    if mask is False or not payload or len(payload) > _MOST_PAYLOAD:
        return None
    if mask is True:
        return payload
    with guard.logged(logger, "defer_record_payloads could not mask a payload of %s", task):
        return to_json(mask(task, shown(encoding.read(payload))))
    return None
