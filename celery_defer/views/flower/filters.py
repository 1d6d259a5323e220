"""Which runs a list shows: from the query of its address, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlencode

from celery_defer import durations
from celery_defer.store import RunState
from celery_defer.views.rows import KINDS, STATES

#: The names of the filters, as they stand in the address.
OF_RUNS = ("state", "task", "tag", "parent", "since")
OF_WAITING = ("kind", "event", "task")


@dataclass(frozen=True, slots=True)
class Filters:
    """Filters as they were typed, and the arguments of the read API that they stand for.

    ``problem`` says which one cannot be read; there are no arguments then.
    """

    texts: Mapping[str, str]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    problem: str | None = None

    def get(self, name: str) -> str:
        return self.texts.get(name, "")

    def query(self, **changes: str) -> str:
        """Return the query of the address with these filters and *changes*; "" drops one."""
        texts = {**self.texts, **changes}
        return urlencode({name: text for name, text in texts.items() if text})


def read(typed: Mapping[str, str], now: datetime) -> Filters:
    """Return the filters that were typed; empty ones count as missing."""
    texts = {name: text.strip() for name, text in typed.items() if text.strip()}
    try:
        return Filters(texts, {name: _argument(name, text, now) for name, text in texts.items()})
    except ValueError as error:
        return Filters(texts, problem=str(error))


def _argument(name: str, text: str, now: datetime) -> Any:
    match name:
        case "state":
            return _state(text)
        case "kind":
            return _kind(text)
        case "tag":
            return _tag(text)
        case "since":
            return _since(text, now)
        case _:
            return text


def _state(text: str) -> RunState:
    if text not in STATES:
        states = ", ".join(state.value for state in STATES)
        raise ValueError(f"State {text!r} is none of a run's states: {states}.")
    return RunState(text)


def _kind(text: str) -> str:
    if text not in KINDS:
        raise ValueError(f"A run can wait for one of these: {', '.join(KINDS)}; not {text!r}.")
    return text


def _tag(text: str) -> tuple[str, str]:
    key, is_pair, value = text.partition("=")
    if not (key and is_pair):
        raise ValueError(f"Tag {text!r} is not of the form key=value.")
    return key, value


def _since(text: str, now: datetime) -> datetime:
    if (seconds := durations.read(text)) is not None:
        return now - timedelta(seconds=seconds)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"Since {text!r} is neither a duration, such as 1h30m, nor a time, such as 2026-08-31."
        ) from None
    return at if at.tzinfo else at.replace(tzinfo=timezone.utc)
