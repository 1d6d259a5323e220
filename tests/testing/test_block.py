"""What a test sees of a block of ``deferring()``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery

from celery_defer import defer, deferring
from celery_defer.testing import Simulation


def test_the_calls_of_a_block_are_run_by_drain(shop: Celery, sim: Simulation, mail: Any) -> None:
    with deferring(shop) as parent:
        defer("receipt", mail, to="ada")
    assert sim.runs_of(mail)[0].state == "PENDING"

    sim.drain()

    (receipt,) = sim.find(parent.id).children
    assert (receipt.result, receipt.parent) == ("mail to ada", sim.find(parent.id))


def test_a_block_is_shown_as_a_run(shop: Celery, sim: Simulation, mail: Any) -> None:
    with deferring(shop) as parent:
        defer("receipt", mail, to="ada")
        defer("bad", mail, too="ada")
        defer("aborted", mail, to="bob").abort()

    run = sim.find(parent.id)
    assert (run.state, run.result, run.passes) == ("SUCCESS", None, 1)
    assert run.task == "celery_defer.deferring"
    assert {id: call.state for id, call in run.deferred.items()} == {
        "receipt": "PUBLISHED",
        "bad": "SKIPPED",
        "aborted": "ABORTED",
    }
    assert run.deferred["receipt"].payload == {"to": "ada"}
    assert [call.id for call in run.skipped] == ["bad"]


def test_a_block_that_raises_has_failed(shop: Celery, sim: Simulation, mail: Any) -> None:
    ids: list[str] = []

    def view() -> None:
        with deferring(shop) as parent:
            ids.append(parent.id)
            defer("receipt", mail, to="ada")
            raise ValueError("the user's")

    with pytest.raises(ValueError, match="the user's"):
        view()

    run = sim.find(ids[0])
    assert (run.state, repr(run.exception)) == ("FAILURE", 'ValueError("the user\'s")')
    assert run.deferred["receipt"].state == "DROPPED"
    assert sim.drain() == []


def test_a_block_waits_for_the_commit_of_its_transaction(
    shop: Celery, sim: Simulation, mail: Any
) -> None:
    hooks: list[Callable[[], None]] = []
    with deferring(shop, on_commit=hooks.append) as parent:
        defer("receipt", mail, to="ada")
    run = sim.find(parent.id)
    before = run.state, run.deferred["receipt"].state

    hooks[0]()

    assert before == ("PENDING", "BUFFERED")
    assert (run.state, run.deferred["receipt"].state) == ("SUCCESS", "PUBLISHED")


def test_a_block_in_a_task_is_a_part_of_its_run(shop: Celery, sim: Simulation, mail: Any) -> None:
    @shop.task
    def order() -> None:
        with deferring():
            defer("receipt", mail, to="ada")

    run = sim.run(order)

    assert list(run.deferred) == ["receipt"]
    assert [each.id for each in sim.runs] == [run.id, run.deferred["receipt"].run.id]
