"""Errors that must not end a task are met; a soft time limit always gets through."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from billiard.exceptions import SoftTimeLimitExceeded

from celery_defer import guard
from celery_defer.errors import PayloadError, StoreError, Suspended

logger = logging.getLogger("guarded")


def broken() -> Any:
    raise LookupError("no such page")


def lost(error: Exception) -> StoreError:
    return StoreError(f"store: {error}")


def under_logged(call: Callable[[], Any]) -> None:
    with guard.logged(logger, "it breaks"):
        call()


def under_translated(call: Callable[[], Any]) -> None:
    with guard.translated(lost):
        call()


def test_an_error_is_logged_with_its_traceback_and_the_code_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with guard.logged(logger, "run %s: %s is away", "3f0c", "the store"):
        broken()

    (record,) = caplog.records
    assert (record.levelname, record.message) == ("ERROR", "run 3f0c: the store is away")
    assert record.exc_info
    assert isinstance(record.exc_info[1], LookupError)


@pytest.mark.parametrize(
    "error", [ConnectionError("refused"), redis.TimeoutError("no reply"), TimeoutError("no reply")]
)
def test_a_service_that_is_away_is_logged_in_one_line(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with guard.logged(logger, "run %s waits", "3f0c"):
        raise error

    (record,) = caplog.records
    assert record.message == f"run 3f0c waits: {type(error).__name__}: {error}"
    assert caplog.text.count("\n") == 1


def test_the_log_names_the_place_of_the_guard(caplog: pytest.LogCaptureFixture) -> None:
    under_logged(broken)

    (record,) = caplog.records
    assert (record.filename, record.funcName) == ("test_guard.py", "under_logged")


def test_nothing_is_logged_where_nothing_is_raised(caplog: pytest.LogCaptureFixture) -> None:
    with guard.logged(logger, "it breaks"):
        pass

    assert not caplog.records


def test_users_code_that_raises_makes_the_default() -> None:
    assert guard.attempt(broken) is None
    assert guard.attempt(broken, "default") == "default"


def test_what_users_code_makes_is_returned() -> None:
    assert guard.attempt(lambda: 0, 7) == 0


def test_an_error_is_raised_as_ours_and_is_its_cause() -> None:
    with (
        pytest.raises(StoreError, match=r"^store: no such page$") as raised,
        guard.translated(lost),
    ):
        broken()

    assert type(raised.value.__cause__) is LookupError


@pytest.mark.parametrize(
    "block",
    [
        guard.logged(logger, "it breaks", unless=PayloadError),
        guard.logged(logger, "it breaks", unless=(KeyError, PayloadError)),
        guard.translated(lost, unless=PayloadError),
        guard.translated(lost, unless=(KeyError, PayloadError)),
    ],
)
def test_an_error_that_a_block_lets_through_stays_itself(
    block: Any, caplog: pytest.LogCaptureFixture
) -> None:
    error = PayloadError("three is no colour")

    with pytest.raises(PayloadError) as raised, block:
        raise error

    assert raised.value is error
    assert not caplog.records


@pytest.mark.parametrize("run", [under_logged, under_translated, guard.attempt])
@pytest.mark.parametrize("kind", [SoftTimeLimitExceeded, Suspended, KeyboardInterrupt])
def test_a_time_limit_a_suspension_and_an_interrupt_always_get_through(
    run: Callable[[Any], Any], kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    error = kind()

    def call() -> None:
        raise error

    with pytest.raises(kind) as raised:
        run(call)

    assert raised.value is error
    assert not caplog.records


def test_every_logger_of_the_package_is_guarded() -> None:
    package = Path(guard.__file__).parent
    own = [path.name for path in package.rglob("*.py") if "getLogger" in path.read_text()]

    assert own == ["guard.py"]


def test_a_soft_time_limit_in_a_log_handler_gets_through() -> None:
    def handle(record: logging.LogRecord) -> bool:
        raise SoftTimeLimitExceeded

    log = guard.logger("limited")
    log.addFilter(handle)

    with pytest.raises(SoftTimeLimitExceeded):
        log.warning("it takes too long")
