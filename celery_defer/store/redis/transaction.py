"""A result and messages in one transaction: both are stored, or neither."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from celery_defer.commands import Commands, listed
from celery_defer.store.redis.flow import LINES
from celery_defer.store.redis.script import Script
from celery_defer.store.values import Giving, Leased

_LUA = files("celery_defer.store.redis") / "lua"
_GIVING = (*LINES, "admit", "start", "giving", "commit", "commit_giving")


@dataclass(frozen=True, slots=True)
class Committed:
    """What has become of a result: the SUCCESS that was ``stored`` before, if that stays.

    ``leases`` has the records of runs that got the places given back; None if none were.
    """

    stored: bytes | None = None
    leases: Sequence[Leased] | None = None


def commit(
    client: Any,
    key: Any,
    result: Commands,
    messages: Commands | None,
    facts: Commands | None = None,
    *,
    giving: Giving | None = None,
    keeps_success: bool,
) -> Committed:
    """Execute what publishes *messages* and what stores the *result* under *key*, or nothing.

    Then write *facts* and give back places, by what ``Store.facts`` and ``Store.giving`` have
    returned. With *keeps_success*, for results in JSON, a SUCCESS that is already stored stays, and
    nothing else is done. *client* is redis-py's, for the database of the result. Raises what
    redis-py raises; unless that is a connection error, nothing is stored.
    """
    own = facts or giving
    sends = messages.rows if messages else ()
    database = (messages or result).database
    keys = [key, *dict.fromkeys(row[1] for row in sends)]
    args = [
        int(keeps_success),
        result.database,
        database,
        *listed(sends),
        *listed(result.rows),
        "" if own is None else own.database,
        *(facts.rows[0] if facts else (0,)),
        *(giving.args if giving else ()),
    ]
    reply = _script_of(client, gives=giving is not None)(keys, args)
    if giving is None or not isinstance(reply, list):
        return Committed(reply if isinstance(reply, bytes) else None)
    return Committed(leases=giving.read(reply))


def _script_of(client: Any, *, gives: bool) -> Script:
    """Return the script that commits; only one of two has all that *gives* back places."""
    name = "_defer_commit_giving" if gives else "_defer_commit"
    script: Script | None = vars(client).get(name)
    if script is None:
        parts = _GIVING if gives else ("now", "note", "commit")
        script = Script(client, "".join((_LUA / f"{part}.lua").read_text() for part in parts))
        setattr(client, name, script)
    return script
