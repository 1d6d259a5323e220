"""What a step raises, and what a replay of it raises: the same, or StepError both times."""

from __future__ import annotations

import builtins
import io
import json
import subprocess
import sys
import traceback
import urllib.error
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any

import celery.exceptions
import kombu.exceptions
import pytest
import redis.exceptions
from celery import Celery
from pydantic import TypeAdapter

from celery_defer import StepError, step
from celery_defer.steps.failure import as_replayed, exception_of, failure_of
from tests.support.inside import WatchedStore, Worker
from tests.support.stage import Stage


@pytest.fixture
def stage(app: Celery, worker: Worker, store: WatchedStore) -> Stage:
    assert app._celery_defer.store is store
    return Stage(app, worker)


class Declined(Exception):
    """Takes more than it keeps in ``args``."""

    def __init__(self, order: int, reason: str) -> None:
        super().__init__(f"order {order}: {reason}")
        self.order = order


class Named(Exception):
    """Takes a required keyword."""

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class Unheard(Exception):
    """Tells its base class nothing."""

    def __init__(self, *, code: int) -> None:
        self.code = code

    def __str__(self) -> str:
        return f"code {self.code}"


class Defaulted(Exception):
    """Could be called with what it keeps, and would say something else then."""

    def __init__(self, text: str = "", code: int = 0, answer: object = None) -> None:
        super().__init__(f"{code}: {text}")
        self.answer = answer


class Refused(Exception):
    """Is made as drivers' errors are: of a statement, its parameters and the driver's error."""

    def __init__(self, statement: str, params: object, origin: object) -> None:
        super().__init__(str(origin))
        self.statement, self.params, self.origin = statement, params, origin

    def __str__(self) -> str:
        return f"{self.args[0]} in {self.statement} of {self.params}"

    def __reduce__(self) -> Any:
        return Refused, (self.statement, self.params, self.origin)


class Mute(Exception):
    """Cannot be shown."""

    def __str__(self) -> str:
        raise LookupError

    __repr__ = __str__


class Bound(Exception):
    """Holds what no JSON holds, and cannot be made without it."""

    def __init__(self, text: str, answer: object) -> None:
        super().__init__(text)
        self.answer = answer


class Hidden(Exception):
    """Raises for each attribute that it lacks, so that no traceback can show it."""

    def __getattr__(self, name: str) -> Any:
        raise KeyError(name)


def read(text: str) -> Callable[[], Any]:
    return lambda: json.loads(text)


def grouped() -> None:
    raise vars(builtins)["ExceptionGroup"]("several", [ValueError(1), KeyError(2)])


def raising(error: BaseException) -> Callable[[], None]:
    def function() -> None:
        raise error

    return function


SAME: dict[str, Callable[[], Any]] = {
    "FileNotFoundError": Path("/nowhere/at/all").read_text,
    "PermissionError of two": raising(PermissionError(1, "no", "a", None, "b")),
    "ConnectionResetError": raising(ConnectionResetError(104, "reset")),
    "UnicodeDecodeError": b"\xff".decode,
    "UnicodeEncodeError": "\ud800".encode,
    "KeyError": lambda: {}["missing"],
    "StopIteration": raising(StopIteration(3)),
    "ImportError": raising(ImportError("no", name="shop", path="shop.py")),
    "JSONDecodeError": read("{"),
    "CalledProcessError": raising(subprocess.CalledProcessError(1, ["ls"], stderr=b"\xff")),
    "bytes": raising(ValueError(b"\xff\xfe")),
    "a lone surrogate": raising(ValueError("\ud800")),
    "two arguments": raising(Declined(7, "no funds")),
    "required keyword": raising(Named(code=7)),
    "no args": raising(Unheard(code=7)),
    "other text": raising(Defaulted("no", 7)),
    "redis ConnectionError": raising(redis.exceptions.ConnectionError("away")),
    "redis ResponseError": raising(redis.exceptions.ResponseError("WRONGTYPE")),
    "celery TimeoutError": raising(celery.exceptions.TimeoutError("late")),
    "celery NotRegistered": raising(celery.exceptions.NotRegistered("shop.sell")),
    "kombu OperationalError": raising(kombu.exceptions.OperationalError("away")),
}

MADE_ANEW: dict[str, Callable[[], Any]] = {
    "URLError": raising(urllib.error.URLError(OSError("away"))),
    "tuple": raising(ValueError(("a", 1))),
    "driver's error": raising(Refused("INSERT", (1, 2), OSError("twice"))),
}

STAND_IN: dict[str, Callable[[], Any]] = {
    "HTTPError": raising(urllib.error.HTTPError("u", 404, "no", Message(), io.BytesIO(b"body"))),
    "ValidationError": lambda: TypeAdapter(int).validate_python("seven"),
    "an object": raising(ValueError(object())),
    "an object as attribute": raising(Bound("no", object())),
    "mangled": raising(Defaulted("no", 7, object())),
    "of a local class": raising(type("Local", (Exception,), {})("no")),
    "mute": raising(Mute("no")),
    "too long": raising(ValueError("x" * 100_000)),
}
if sys.version_info >= (3, 11):
    STAND_IN["ExceptionGroup"] = grouped
if sys.version_info < (3, 13):  # since then a traceback shows it
    STAND_IN["hidden"] = raising(Hidden("no"))


def caught(app: Celery, stage: Stage, function: Callable[[], Any], **retries: int) -> list[Any]:
    """Return what a body catches of a step, in its first turn and in a replay."""
    errors: list[Any] = []

    @app.task
    def parent() -> str:
        try:
            step.run("fails", function, **retries)
        except Exception as error:
            errors.append(error)
        step.sleep("nap", 5)
        return "caught"

    assert stage.finish(parent).result == "caught"
    return errors


def raised(function: Callable[[], Any]) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        function()
    return caught.value


@pytest.mark.parametrize("name", SAME)
def test_an_exception_is_the_same_in_a_replay(app: Celery, stage: Stage, name: str) -> None:
    error = raised(SAME[name])

    first, again = caught(app, stage, raising(error))

    assert first is error
    assert type(again) is type(error)
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))


@pytest.mark.parametrize("name", MADE_ANEW)
def test_one_that_json_changes_is_made_anew_for_the_first_turn_too(
    app: Celery, stage: Stage, name: str
) -> None:
    error = raised(MADE_ANEW[name])

    first, again = caught(app, stage, raising(error))

    assert type(first) is type(again) is type(error)
    assert first.__cause__ is error
    assert (str(first), first.args, vars(first)) == (str(again), again.args, vars(again))


@pytest.mark.parametrize("name", STAND_IN)
def test_one_that_cannot_be_made_again_is_a_step_error_in_both_turns(
    app: Celery, stage: Stage, name: str
) -> None:
    error = raised(STAND_IN[name])

    first, again = caught(app, stage, raising(error))

    assert type(first) is type(again) is StepError
    assert first.args == again.args
    assert type(error).__name__ in str(first)
    assert first.__cause__ is (None if name == "hidden" else error)
    assert again.__cause__ is None


@pytest.mark.parametrize("name", [*SAME, *MADE_ANEW, *STAND_IN])
def test_a_step_whose_tries_are_used_up_says_the_same_in_both_turns(
    app: Celery, stage: Stage, name: str
) -> None:
    error = raised({**SAME, **MADE_ANEW, **STAND_IN}[name])

    first, again = caught(app, stage, raising(error), retries=1)

    assert type(first) is type(again) is StepError
    assert first.args == again.args
    assert type(again.__cause__) is (type(None) if name in STAND_IN else type(error))


@pytest.mark.parametrize(
    "name", sorted(STAND_IN.keys() & {"HTTPError", "ValidationError", "mute", "hidden"})
)
def test_one_that_cannot_be_made_again_and_is_not_caught_is_the_failure_of_its_task(
    app: Celery, stage: Stage, name: str
) -> None:
    @app.task
    def parent() -> None:
        step.run("fails", STAND_IN[name])

    result = stage.finish(parent)

    assert result.state == "FAILURE"
    assert type(result.result) is StepError


def test_one_that_is_not_caught_stays_what_the_task_is_retried_for(
    app: Celery, stage: Stage
) -> None:
    tries = []

    def charge() -> int:
        tries.append(1)
        if len(tries) < 3:
            raise Declined(7, "no funds")
        return len(tries)

    @app.task(autoretry_for=(Declined,), default_retry_delay=0, max_retries=2)
    def parent() -> int:
        return step.run("charge", charge)

    result = stage.begin(parent)
    stage.worker.drain()

    assert result.result == 3


def test_every_one_can_be_shown_in_a_traceback() -> None:
    for function in {**SAME, **MADE_ANEW, **STAND_IN}.values():
        error = raised(function)
        failure = failure_of(error, is_final=False)

        for again in (as_replayed(error, failure), exception_of(failure)):
            if again is not None:
                assert "".join(traceback.format_exception(again))


def test_a_class_that_a_new_version_lacks_leaves_a_step_error(
    app: Celery, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[BaseException] = []
    declines = raising(Named(code=7))

    @app.task
    def parent() -> None:
        try:
            step.run("fails", declines)
        except Exception as error:
            errors.append(error)
        step.sleep("nap", 5)

    stage.begin(parent)
    monkeypatch.delattr(sys.modules[__name__], "Named")
    stage.go_on()

    assert [type(error).__name__ for error in errors] == ["Named", "StepError"]
    assert str(errors[1]) == "step 'fails' has failed: Named('code 7')"
