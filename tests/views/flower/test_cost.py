"""What a page asks of Redis does not grow with the number of runs that are kept."""

from __future__ import annotations

import pytest

from celery_defer.ids import run_id
from celery_defer.store import RunState, Store
from tests.support.flower import Visitor
from tests.support.redis import Server
from tests.views.flower.runs import Call, add_many, add_run

pytestmark = pytest.mark.worker

# Flower itself asks Redis too, for its events.
_OURS = ("celery-defer:", "celery-task-meta-")
_ALL = ("KEYS", "SCAN")


def asked(visitor: Visitor, server: Server, path: str) -> list[list[str]]:
    """Return the commands that a page takes, as words."""
    with server.client() as client, client.monitor() as monitor:
        visitor.page(path)
        client.echo("that was all")
        commands = []
        for each in monitor.listen():
            if "that was all" in each["command"]:
                return commands
            if any(key in each["command"] for key in _OURS):
                commands.append(each["command"].split())
    raise AssertionError("the monitor has ended")


def test_a_page_asks_no_more_of_ten_thousand_runs_than_of_half_as_many(
    visitor: Visitor, server: Server, records: Store
) -> None:
    def cost() -> dict[str, int]:
        [parent, *_] = add_many(records, 10)
        paths = {
            "list": "/deferred",
            "failed": "/deferred?state=failed",
            "of a task": "/deferred?task=shop.send_receipt",
            "tagged": "/deferred?tag=order%3D7",
            "waiting": "/deferred/waiting",
            "limits": "/deferred/limits",
            "outbox": "/deferred/outbox",
            "parent": f"/deferred/run/{parent}",
            "child": f"/deferred/run/{run_id(parent, 'receipt-3')}",
        }
        commands = {name: asked(visitor, server, path) for name, path in paths.items()}
        assert not any(word.upper() in _ALL for each in commands.values() for [word, *_] in each)
        return {name: sum(map(len, each)) for name, each in commands.items()}

    add_many(records, 5_000, {"order": "7"})
    of_half = cost()
    add_many(records, 5_000, {"order": "7"})

    # Not the very same: what a page asks depends on the states of the runs on it.
    for name, number in cost().items():
        assert number <= 1.25 * of_half[name], f"{name}: {of_half[name]}, then {number}"


def test_a_page_reads_all_runs_of_a_tree_at_once(
    visitor: Visitor, server: Server, records: Store
) -> None:
    calls = [Call(f"call-{n}", state=RunState.PUBLISHED) for n in range(150)]
    parent = add_run(records, "shop.campaign", calls)

    assert len(asked(visitor, server, f"/deferred/run/{parent}")) < 30
