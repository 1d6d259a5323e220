"""What is told of a broker that cannot be reached."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery import Celery

from celery_defer.broker.connection import connect


def test_a_soft_limit_that_strikes_while_connecting_is_no_broker_that_is_away(app: Celery) -> None:
    class Hanging:
        connected = False
        connect_timeout = 4
        transport = SimpleNamespace(driver_type="amqp")

        def ensure_connection(self, **_: Any) -> Any:
            raise SoftTimeLimitExceeded

    with pytest.raises(SoftTimeLimitExceeded):
        connect(app, Hanging())
