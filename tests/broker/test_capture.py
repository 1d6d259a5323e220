"""A batch of messages says of a failure whether the broker may have taken them."""

from __future__ import annotations

import pytest
from billiard.exceptions import SoftTimeLimitExceeded

from celery_defer.broker import capture


def test_a_soft_limit_that_strikes_in_a_send_is_no_doubt_about_the_broker() -> None:
    with pytest.raises(SoftTimeLimitExceeded), capture._telling_of_doubt():
        raise SoftTimeLimitExceeded
