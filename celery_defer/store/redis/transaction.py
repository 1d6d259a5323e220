"""A result and messages in one transaction: both are stored, or neither."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from celery_defer.commands import Commands, listed
from celery_defer.store.redis.script import Script

_LUA = files("celery_defer.store.redis") / "lua"
_SOURCE = "".join((_LUA / f"{part}.lua").read_text() for part in ("now", "note", "commit"))


def commit(
    client: Any,
    key: Any,
    result: Commands,
    messages: Commands | None,
    facts: Commands | None = None,
    *,
    keeps_success: bool,
) -> bytes | None:
    """Execute what publishes *messages* and what stores the *result* under *key*, or nothing.

    Then write *facts*, which ``Store.facts`` has returned. With *keeps_success*, for results in
    JSON, a SUCCESS that is already stored stays, and is returned; else this returns None. *client*
    is redis-py's, for the database of the result. Raises what redis-py raises; unless that is a
    connection error, nothing is stored.
    """
    sends = messages.rows if messages else ()
    database = (messages or result).database
    keys = [key, *dict.fromkeys(row[1] for row in sends)]
    args = [
        int(keeps_success),
        result.database,
        database,
        *listed(sends),
        *listed(result.rows),
        facts.database if facts else "",
        *(facts.rows[0] if facts else (0,)),
    ]
    stored: bytes | None = _script_of(client)(keys, args)
    return stored


def _script_of(client: Any) -> Script:
    script: Script | None = vars(client).get("_defer_commit")
    if script is None:
        script = client._defer_commit = Script(client, _SOURCE)
    return script
