"""A result and messages in one transaction: both are stored, or neither."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

from celery_defer.commands import Commands
from celery_defer.store.redis.script import Script

_SOURCE = (files("celery_defer.store.redis") / "lua" / "commit.lua").read_text()


def commit(
    client: Any, key: Any, result: Commands, messages: Commands | None, *, keeps_success: bool
) -> bytes | None:
    """Execute what publishes *messages* and what stores the *result* under *key*, or nothing.

    With *keeps_success*, for results in JSON, a SUCCESS that is already stored stays, and is
    returned; else this returns None. *client* is redis-py's, for the database of the result. Raises
    what redis-py raises; unless that is a connection error, nothing is stored.
    """
    sends = messages.rows if messages else ()
    database = (messages or result).database
    keys = [key, *dict.fromkeys(row[1] for row in sends)]
    args = [
        int(keeps_success),
        result.database,
        database,
        *_listed(sends),
        *_listed(result.rows),
    ]
    stored: bytes | None = _script_of(client)(keys, args)
    return stored


def _listed(rows: Sequence[Sequence[Any]]) -> Iterable[Any]:
    yield len(rows)
    for row in rows:
        yield len(row)
        yield from row


def _script_of(client: Any) -> Script:
    script: Script | None = vars(client).get("_defer_commit")
    if script is None:
        script = client._defer_commit = Script(client, _SOURCE)
    return script
