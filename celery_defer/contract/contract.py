"""A contract: what a deferred function takes, checked by pydantic and carried as JSON."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from inspect import Parameter
from types import SimpleNamespace
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json
from typing_extensions import NotRequired, TypedDict

from celery_defer import guard
from celery_defer.contract.arguments import Arguments, Layout, SchemaLayout
from celery_defer.contract.json_type import JsonType
from celery_defer.contract.secret import check_no_secret
from celery_defer.contract.signature import ANYTHING, SignatureLayout
from celery_defer.encoding import TAG, loads, tagged, without_lazy
from celery_defer.errors import ContractError, PayloadError
from celery_defer.model import Options

# With fewer brackets nothing is nested too deep for a JSON reader, and with fewer characters no
# number has too many digits.
_DEEP = 100
_LONG = 4_300


@dataclass(frozen=True, slots=True)
class Contract:
    """What one deferred function takes."""

    task: str
    layout: Layout
    #: What ``defer`` takes.
    payload: JsonType
    #: What the function takes: with a batch it is a list of payloads.
    message: JsonType

    @classmethod
    def of(
        cls,
        task: str,
        function: Callable[..., Any],
        schema: Any = None,
        *,
        is_batch: bool = False,
    ) -> Contract:
        """Read the contract of *function*; with a *schema*, its one parameter takes that.

        With *is_batch* it takes a list of them.

        Raises ContractError where pydantic cannot check a parameter, and where the function
        does not take exactly the one payload of a schema.
        """
        with _named(task):
            parameters = list(inspect.signature(function).parameters.values())
            if schema is not None:
                layout: Layout = schema_layout(
                    task, function, parameters, schema, is_batch=is_batch
                )
                payload = _json_type(task, schema)
                message = _json_type(task, list[schema]) if is_batch else payload
                return cls(task, layout, payload, message)
            hints = hints_of(function, parameters)
            with guard.translated(
                partial(_unreadable, task, parameters, hints), unless=ContractError
            ):
                payload = _json_type(task, _payload_type(parameters, hints))
            return cls(task, SignatureLayout.of(task, parameters, hints), payload, payload)

    def pack(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """Check a call and return ``[args, kwargs]`` of its message as JSON; raise PayloadError."""
        value = self._checked(self._check, self.layout.called(args, kwargs))
        with guard.translated(
            lambda error: PayloadError(f"payload of {self.task} is not JSON: {error}")
        ):
            json = self.payload.dump(value, warnings="warn")
            if len(json) > _LONG or json.count("[") + json.count("{") > _DEEP:
                from_json(json)  # pydantic writes what it does not read
            if TAG in json:
                loads(json)  # as a worker does, before the package has a say
            return self.layout.carry(json.encode(), len(args))

    def unpack(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Arguments:
        """Return what the function takes, from the JSON of a message; raise PayloadError."""
        return self.layout.spread(self._read(args, kwargs), len(args))

    def sent(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return the values of a message by their names, unchecked; raise PayloadError.

        Of a batch they are those of the first payload; so it is with the next two.
        """
        return self.layout.by_name(self.layout.sent(args, kwargs))

    def parsed(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return the payload of a message, the object or the arguments; raise PayloadError."""
        return self.layout.by_name(self._read(args, kwargs))

    def normal(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return the values of a message by their names, as ``pack`` writes them."""
        json = self._checked(self.message.dump, self._read(args, kwargs))
        return self.layout.by_name(loads(json))

    def _read(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        sent = self.layout.sent(args, kwargs)
        # The task's own `__call__` may have put objects in their place.
        untyped = {name: sent[name] for name in self.layout.untyped if name in sent}
        typed = {**sent, **dict.fromkeys(untyped)} if untyped else sent
        value = self._checked(self._load, typed)
        return {**value, **untyped} if untyped else value

    def _check(self, value: Any) -> Any:
        try:
            return self.payload.check(value)
        except ValidationError:
            plain = without_lazy(value)
            if plain is value:
                raise
            return self.payload.check(plain)

    def _load(self, sent: Any) -> Any:
        return self.message.load(to_json(tagged(sent) if self.message.is_open else sent))

    def _checked(self, check: Callable[[Any], Any], value: object) -> Any:
        with guard.translated(self._refusal, unless=PayloadError):
            return check(value)

    def _refusal(self, error: Exception) -> PayloadError:
        if not isinstance(error, ValidationError):  # a user's validator may raise anything
            return PayloadError(f"payload of {self.task}: {error!r}")
        problems = list(_problems(error))
        return PayloadError(f"payload of {self.task}: {'; '.join(problems)}", problems)


def schema_layout(
    task: str,
    function: Callable[..., Any],
    parameters: Sequence[Parameter],
    schema: Any,
    *,
    is_batch: bool = False,
) -> SchemaLayout:
    """Return how *function* takes a schema; raise ContractError if it does not."""
    with _named(task):
        # An annotation that nobody can read yet is not compared.
        hints = guard.attempt(lambda: hints_of(function, parameters), {})
        return SchemaLayout.of(task, schema, parameters, hints, is_batch=is_batch)


def _named(task: str) -> AbstractContextManager[None]:
    """Raise ContractError with the task's name for any other error of the block."""
    return guard.translated(
        lambda error: ContractError(f"{task} cannot be deferred: {_line(error)}"),
        unless=ContractError,
    )


def _unreadable(
    task: str, parameters: Sequence[Parameter], hints: Mapping[str, Any], error: Exception
) -> ContractError:
    refused = (p for p in parameters if _is_refused(hints.get(p.name, Any)))
    if parameter := next(refused, None):
        return ContractError(
            f"{task} cannot be deferred: pydantic cannot check its parameter {parameter}; "
            "annotate it with what callers send, such as an id"
        )
    return ContractError(f"{task} cannot be deferred: {_line(error)}")


def _is_refused(annotation: Any) -> bool:
    return guard.attempt(lambda: TypeAdapter(annotation)) is None


def _line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def hints_of(function: Callable[..., Any], parameters: Sequence[Parameter]) -> dict[str, Any]:
    """Return the types of the parameters alone: the return type is no part of the contract."""
    plain = inspect.unwrap(function)
    plain = getattr(plain, "__func__", plain)
    annotations = getattr(plain, "__annotations__", {})
    own = {p.name: annotations[p.name] for p in parameters if p.name in annotations}
    names = getattr(plain, "__globals__", {})
    return typing.get_type_hints(
        SimpleNamespace(__annotations__=own), globalns=names, include_extras=True
    )


def _json_type(task: str, payload_type: Any) -> JsonType:
    adapter: TypeAdapter[Any] = TypeAdapter(payload_type)
    json_type = JsonType.of_celery(adapter)
    check_no_secret(task, adapter)
    return json_type


def _payload_type(parameters: Sequence[Parameter], hints: Mapping[str, Any]) -> Any:
    # A type made at run time means nothing to a type checker.
    make_type: Any = TypedDict
    payload = make_type("Arguments", dict(_fields(parameters, hints)))
    payload.__pydantic_config__ = ConfigDict(extra="forbid")
    return payload


def _fields(parameters: Sequence[Parameter], hints: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for parameter in parameters:
        annotation: Any = hints.get(parameter.name, Any)
        key = SignatureLayout.key(parameter)
        is_optional = key != parameter.name or parameter.default is not Parameter.empty
        if parameter.kind is Parameter.VAR_POSITIONAL and annotation not in ANYTHING:
            annotation = list[annotation]
        elif parameter.kind is Parameter.VAR_KEYWORD and annotation not in ANYTHING:
            annotation = dict[str, annotation]
        yield key, NotRequired[annotation] if is_optional else annotation


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        path = ".".join(str(step) for step in problem["loc"]) or "payload"
        if problem["type"] == "extra_forbidden" and path in Options.model_fields:
            yield f"{path}: no argument of it, but an option: task.with_options({path}=…)"
        else:
            yield f"{path}: {problem['msg']}"
