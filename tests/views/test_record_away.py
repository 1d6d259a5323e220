"""What readers of records do if the results or the store do not reply."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

import pytest
from celery import Celery

from celery_defer import Defer, StoreError, defer
from celery_defer.views import counts, outbox, quarantine, record, runs, tree, waiting
from tests.support.inside import Worker, parent_of, ship_of
from tests.support.one_redis import ONE_TRANSACTION, app_on
from tests.support.proxy import Proxy
from tests.support.redis import Server

pytestmark = ONE_TRANSACTION

READERS: dict[str, Callable[[Any, Celery], Any]] = {
    "record": lambda run, app: record(run, app=app),
    "tree": lambda run, app: tree(run, app=app),
    "runs": lambda run, app: runs(app=app),
}


@pytest.mark.parametrize("name", READERS)
def test_results_that_hang_hold_up_a_reader_for_seconds_only(server: Server, name: str) -> None:
    with Proxy(server.url) as way:
        app = app_on(server, backend=f"{way.url}/4", defer_store_url=f"{server.url}/5")
        ship = ship_of(app)
        parent = Worker(app).perform(parent_of(app, lambda: defer("a", ship, n=1) and None))
        assert READERS[name](parent.id, app)

        way.hang()
        began = monotonic()
        with pytest.raises(StoreError, match=r"cannot be read .*[Tt]ime"):
            READERS[name](parent.id, app)
        assert monotonic() - began < 5
        way.mend()

        assert READERS[name](parent.id, app)


@pytest.mark.parametrize("read", [*READERS.values(), waiting, counts, outbox, quarantine])
def test_a_reader_says_that_the_store_is_away(read: Callable[..., Any]) -> None:
    app = Celery("away", broker="memory://", set_as_current=False)
    app.conf.defer_store_url = "redis://127.0.0.1:1/0"
    Defer(app)

    with pytest.raises(StoreError, match=r"the store cannot be read .*ConnectionError") as caught:
        read("some", app) if read in READERS.values() else read(app=app)

    assert caught.value.__cause__ is not None
