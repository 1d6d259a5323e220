"""What of Celery is real in a simulation: canvas, revokes, result backends, imports."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery, _state, chain, chord, exceptions, group
from celery.backends.base import DisabledBackend

from celery_defer import Defer, StepError, cancel, step
from celery_defer.testing import Simulation


def test_a_task_may_not_wait_for_another(shop: Celery, sim: Simulation, mail: Any) -> None:
    @shop.task
    def waits() -> Any:
        return mail.delay("ada").get()

    run = sim.run(waits)

    with pytest.raises(RuntimeError, match=r"Never call result.get"):
        assert run.result


def test_chains_groups_chords_and_callbacks_run(shop: Celery, sim: Simulation, mail: Any) -> None:
    @shop.task
    def listed(*names: Any) -> str:
        return ", ".join(map(str, names))

    chained = chain(mail.s("ada"), listed.s("eve"))()
    grouped = group(mail.s("ada"), mail.s("bob"))()
    joined = chord([mail.s("ada"), mail.s("bob")])(listed.s())
    linked = mail.apply_async(("ada",), link=listed.s("linked"))
    sim.drain()

    assert chained.get() == "mail to ada, eve"
    assert grouped.get() == ["mail to ada", "mail to bob"]
    assert joined.get() == "['mail to ada', 'mail to bob']"
    (child,) = sim.find(linked.id).children
    assert child.result == "mail to ada, linked"


def test_a_revoked_run_does_not_run_and_a_parked_one_ends(
    shop: Celery, sim: Simulation, mail: Any
) -> None:
    @shop.task
    def nap() -> None:
        step.sleep("nap", 60)

    sent, parked, other = mail.delay("ada"), sim.run(nap), sim.run(nap)
    sent.revoke()
    shop.AsyncResult(parked.id).revoke()
    assert cancel(other.id)
    before = parked.state
    sim.advance("1h")

    assert before == "REVOKED"
    assert [sim.find(sent.id).state, parked.state, other.state] == ["REVOKED"] * 3
    assert [sent.state, shop.AsyncResult(parked.id).state] == ["REVOKED"] * 2


def test_a_run_learns_that_the_one_it_has_invoked_was_revoked(
    shop: Celery, sim: Simulation, mail: Any
) -> None:
    @shop.task
    def parent() -> str:
        return step.invoke("mail", mail, "ada")

    run = sim.run(parent)
    shop.AsyncResult(run.children[0].id).revoke()
    sim.advance("1h")

    assert run.children[0].state == "REVOKED"
    assert isinstance(run.exception, StepError)


def test_a_module_of_tasks_is_imported_when_a_message_needs_it(
    shop: Celery, sim: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(a: int, b: int) -> int:
        return a + b

    monkeypatch.setattr(shop.loader, "import_default_modules", lambda: shop.task(add, name="add"))
    result = shop.send_task("add", (1, 2))
    unknown = shop.send_task("subtract", (1, 2))
    with pytest.raises(exceptions.NotRegistered, match="subtract"):
        sim.drain()

    assert sim.find(result.id).result == 3
    assert sim.find(unknown.id).state == "PENDING"


def test_an_app_without_a_backend_is_left_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celery._state._on_app_finalizers", set(_state._on_app_finalizers))
    app = Celery("bare", broker="redis://127.0.0.1:1/0")
    Defer(app)

    @app.task
    def add(a: int, b: int) -> int:
        return a + b

    with Simulation(app) as sim:
        assert sim.run(add, 1, 2).result == 3
        assert isinstance(app.backend, DisabledBackend)


def test_a_task_with_a_result_backend_of_its_own_keeps_off_it(shop: Celery) -> None:
    theirs = shop._get_backend()

    @shop.task(backend=theirs)
    def add(a: int, b: int) -> int:
        return a + b

    with Simulation(shop) as sim:
        assert sim.run(add, 1, 2).result == 3
        assert add.backend is not theirs

    assert add.backend is theirs


def test_eager_mode_is_off_in_a_simulation(shop: Celery) -> None:
    shop.conf.task_always_eager = True

    @shop.task
    def nap() -> None:
        step.sleep("nap", 60)

    with Simulation(shop) as sim:
        assert sim.run(nap).state == "WAITING"

    assert shop.conf.task_always_eager is True
