"""An app in a simulation: which one, with which settings, and how it is afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery, _state
from celery.signals import task_postrun

import celery_defer
from celery_defer import defer
from celery_defer.testing import Simulation, SimulationError
from tests.support.shop import MONDAY

Begin = Callable[..., Simulation]


def test_a_simulation_takes_the_settings_as_they_are_when_it_begins(shop: Celery) -> None:
    assert shop._celery_defer.settings.strict is False

    @shop.task
    def order() -> None:
        defer("", order)

    shop.conf.defer_strict = True
    with Simulation(shop) as sim, pytest.raises(celery_defer.DeferError):
        assert sim.run(order).result

    assert shop._celery_defer.settings.strict is False


def test_everything_is_put_back(shop: Celery) -> None:
    @shop.task
    def order() -> None: ...

    def use() -> None:
        with Simulation(shop) as sim:
            assert sim.run(order).result is None
            shop.AsyncResult("x").revoke()

    def parts() -> list[Any]:
        own = [vars(shop), vars(shop._celery_defer), vars(shop.amqp), vars(shop.tasks[order.name])]
        return [*map(dict, own), dict(shop.conf.changes), set(task_postrun.receivers)]

    other = Celery("other", set_as_current=True)
    use()  # now Celery has made what it makes once
    before = parts()
    use()

    assert parts() == before
    assert not {"_connection", "now"} & vars(shop).keys()
    assert (shop._pool, shop._backend_cache, shop.amqp._producer_pool) == (None, None, None)
    assert shop.connection_for_write().transport_cls == "redis"
    assert _state.get_current_app() is other


def test_two_simulations_know_nothing_of_each_other(shop: Celery, mail: Any) -> None:
    with Simulation(shop):
        mail.delay("ada")
    with Simulation(shop) as sim:
        assert sim.drain() == []
        assert sim.runs == []


def test_an_app_is_in_one_simulation_at_a_time(shop: Celery, mail: Any) -> None:
    with Simulation(shop) as sim:
        with pytest.raises(SimulationError, match="is in a simulation: use that one"):
            Simulation(shop).__enter__()

        assert sim.run(mail, "ada").result == "mail to ada"


def test_an_app_without_defer_is_refused() -> None:
    with pytest.raises(SimulationError, match=r"has no Defer\(app\)"):
        Simulation(Celery("plain"))


def test_the_fixture_gives_a_simulation(shop: Celery, defer_simulation: Begin, mail: Any) -> None:
    sim = defer_simulation(shop, now=MONDAY)

    assert (sim.now, sim.run(mail, "ada").result) == (MONDAY, "mail to ada")
    assert shop._celery_defer.store is not None
