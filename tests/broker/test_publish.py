"""What is told of a broker that cannot be reached."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery import Celery

from celery_defer.broker import publish


def test_a_soft_limit_that_strikes_while_connecting_is_no_broker_that_is_away(app: Celery) -> None:
    class Hanging:
        connected = False
        transport_options: ClassVar[dict[str, Any]] = {}

        @property
        def default_channel(self) -> Any:
            raise SoftTimeLimitExceeded

    with pytest.raises(SoftTimeLimitExceeded):
        publish._connect(app, Hanging())
