"""A batch of messages says of a failure whether the broker may have taken them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from kombu import Producer
from kombu.exceptions import OperationalError

from celery_defer.broker.capture import Capture
from celery_defer.broker.message import Wire


class Channel:
    """A channel to a Redis that fails when it is sent something."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def create_publish_batch(self, _: int) -> SimpleNamespace:
        return SimpleNamespace(pipeline=self)

    def lpush(self, key: str, value: bytes) -> None: ...

    def execute(self, *, raise_on_error: bool) -> None:
        raise self._error


def capture_on(error: BaseException) -> Capture:
    capture = Capture(Producer(Channel(error), auto_declare=False))
    capture.put(Wire(b"[]", {}, {}, ("celery", {})))
    return capture


def test_a_soft_limit_that_strikes_in_a_send_is_no_doubt_about_the_broker() -> None:
    with pytest.raises(SoftTimeLimitExceeded):
        capture_on(SoftTimeLimitExceeded()).finish()


def test_a_send_that_fails_leaves_it_open_whether_the_messages_have_arrived() -> None:
    with pytest.raises(OperationalError, match="may have arrived or not: ConnectionError"):
        capture_on(ConnectionError("reset")).finish()
