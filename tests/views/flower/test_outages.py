"""What the Deferred tab shows when its Redis is away, or slow."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from celery_defer.store import Store
from tests.support.flower import Flower, Visitor
from tests.support.redis import Server
from tests.views.flower.runs import Call, add_run

pytestmark = pytest.mark.worker


@pytest.mark.parametrize("path", ["", "/waiting", "/outbox", "/run/nobody"])
def test_without_redis_a_page_says_so_and_flower_runs_on(
    path: str, visitor: Visitor, server: Server
) -> None:
    server.stop()
    try:
        page = visitor.page(f"/deferred{path}", status=503)
    finally:
        server.start()

    assert "This page cannot be shown" in page
    assert "onnect" in page  # what redis-py says of it
    assert "Traceback" not in page
    visitor.page("/deferred")


def test_a_slow_redis_holds_up_nobody_else(
    flower: Flower, visitor: Visitor, records: Store, server: Server
) -> None:
    parent = add_run(records, "shop.process_order", [Call("receipt")])

    with ThreadPoolExecutor() as threads, flower.visitor() as other, server.hanging():
        asked = [threads.submit(other.get, f"/deferred/run/{parent}") for _ in range(8)]
        for _ in range(20):
            visitor.page("/deferred/static/deferred.css")
        assert not any(each.done() for each in asked)
        responses = [each.result() for each in asked]

    assert {response.status_code for response in responses} == {503}
    assert "This page cannot be shown" in responses[0].text
    visitor.page(f"/deferred/run/{parent}")
