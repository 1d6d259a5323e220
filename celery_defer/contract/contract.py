"""A contract: what a deferred function takes, and the way there and back as JSON."""

from __future__ import annotations

import inspect
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter
from types import SimpleNamespace
from typing import Any

import pydantic_core
from billiard.exceptions import SoftTimeLimitExceeded
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import CoreConfig, SchemaSerializer, SchemaValidator, from_json
from typing_extensions import NotRequired, TypedDict

from celery_defer.contract.arguments import Arguments, Layout, SchemaLayout, SignatureLayout
from celery_defer.errors import ContractError, PayloadError

__all__ = ["Contract", "JsonType", "contract"]

# JSON has neither bytes nor infinities; a value must arrive equal to what was sent.
_JSON: CoreConfig = {
    "ser_json_bytes": "base64",
    "val_json_bytes": "base64",
    "ser_json_inf_nan": "strings",
}


# Without this a nested model is handled by what its class has already, as it was configured
# there. pydantic before 2.13 has no such switch: bytes in a nested model must be UTF-8 there.
_ANEW: dict[str, Any] = (
    {"_use_prebuilt": False} if "_use_prebuilt" in str(inspect.signature(SchemaValidator)) else {}
)


# Fewer brackets than this cannot be nested too deep for any JSON reader.
_DEEP = 100


@dataclass(frozen=True, slots=True)
class Contract:
    """What one deferred function takes."""

    task: str
    layout: Layout
    validator: SchemaValidator
    serializer: SchemaSerializer

    def pack(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
        """Validate a call and answer ``[args, kwargs]`` of its message as JSON."""
        value = self._checked(self.validator.validate_python, self.layout.called(args, kwargs))
        try:
            json = self.serializer.to_json(value, round_trip=True, by_alias=False)
            if json.count(b"[") + json.count(b"{") > _DEEP:
                from_json(json)  # pydantic writes what is nested deeper than it reads
            return self.layout.carry(json)
        except SoftTimeLimitExceeded:
            raise
        except Exception as error:  # a user's serializer may raise anything
            raise PayloadError(f"payload of {self.task} is not JSON: {error}") from error

    def unpack(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Arguments:
        """Turn the JSON values of a message into what the function takes; raise PayloadError."""
        sent = pydantic_core.to_json(self.layout.sent(args, kwargs))
        return self.layout.spread(self._checked(self.validator.validate_json, sent))

    def _checked(self, validate: Callable[..., Any], value: object) -> Any:
        try:
            return validate(value, by_alias=True, by_name=True)
        except ValidationError as error:
            problems = list(_problems(error))
            listed = "; ".join(problems)
            raise PayloadError(f"payload of {self.task}: {listed}", problems) from error
        except (PayloadError, SoftTimeLimitExceeded):
            raise
        except Exception as error:  # a user's validator may raise anything
            raise PayloadError(f"payload of {self.task}: {error!r}") from error


class JsonType:
    """A type's way to JSON and back, by the rules of payloads: equal to what it was."""

    __slots__ = ("__weakref__", "_serializer", "_validator")

    def __init__(self, adapter: TypeAdapter[Any]) -> None:
        adapter.rebuild(raise_errors=True)
        self._validator, self._serializer = _with_json_defaults(adapter)

    def dump(self, value: Any) -> str:
        """Answer *value* as JSON; raises what pydantic raises where it has none."""
        json = self._serializer.to_json(value, round_trip=True, by_alias=False, warnings="error")
        return json.decode()

    def check(self, value: Any) -> Any:
        """Answer *value* as the type has it; raises ValidationError."""
        return self._validator.validate_python(value, by_alias=True, by_name=True)

    def load(self, json: str) -> Any:
        """Answer the value of *json*; raises ValidationError."""
        return self._validator.validate_json(json, by_alias=True, by_name=True)


def contract(task: str, function: Callable[..., Any], schema: Any = None) -> Contract:
    """Read the contract of *function*, whose one parameter is *schema* where one is given.

    Raises ContractError where pydantic cannot check a parameter, or where the function
    does not take the one payload that a schema asks for.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
        if schema is not None:
            return _contract(task, SchemaLayout.of(task, schema, parameters), schema)
        payload_type = _payload_type(parameters, _hints(function, parameters))
        return _contract(task, SignatureLayout.of(task, parameters), payload_type)
    except ContractError:
        raise
    except Exception as error:  # pydantic's, or whatever an annotation raises
        raise ContractError(f"{task} cannot be deferred: {error}") from error


def _hints(function: Callable[..., Any], parameters: Sequence[Parameter]) -> dict[str, Any]:
    """The types of the parameters alone: what is returned is no part of the contract."""
    plain = inspect.unwrap(function)
    plain = getattr(plain, "__func__", plain)
    known = getattr(plain, "__annotations__", {})
    wanted = {p.name: known[p.name] for p in parameters if p.name in known}
    names = getattr(plain, "__globals__", {})
    return typing.get_type_hints(
        SimpleNamespace(__annotations__=wanted), globalns=names, include_extras=True
    )


def _contract(task: str, layout: Layout, payload_type: Any) -> Contract:
    adapter: TypeAdapter[Any] = TypeAdapter(payload_type)
    adapter.rebuild(raise_errors=True)
    _check_no_secret(task, adapter)
    validator, serializer = _with_json_defaults(adapter)
    return Contract(task, layout, validator, serializer)


def _check_no_secret(task: str, adapter: TypeAdapter[Any]) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            schema = adapter.json_schema(mode="serialization")
    except Exception:  # a type that JSON Schema has no word for
        return
    if _has_secret(schema):
        raise ContractError(
            f"{task} takes a pydantic Secret, which pydantic's JSON replaces by asterisks; "
            "take a str, or a reference to where the secret is kept"
        )


def _has_secret(schema: Any) -> bool:
    if isinstance(schema, list):
        return any(map(_has_secret, schema))
    if not isinstance(schema, dict):
        return False
    is_secret = schema.get("format") == "password" and schema.get("writeOnly") is True
    return is_secret or any(map(_has_secret, schema.values()))


def _with_json_defaults(adapter: TypeAdapter[Any]) -> tuple[SchemaValidator, SchemaSerializer]:
    """Build anew what the adapter has, with `_JSON` in every nested model that says nothing.

    pydantic takes these settings from each model's own configuration alone, so a user's
    model with a ``bytes`` field would refuse what is not UTF-8.
    """
    schema = _configured(adapter.core_schema)
    return SchemaValidator(schema, _JSON, **_ANEW), SchemaSerializer(schema, _JSON, **_ANEW)


def _configured(node: Any) -> Any:
    if isinstance(node, list | tuple):
        return type(node)(_configured(item) for item in node)
    if not isinstance(node, dict):
        return node
    copied = {key: _configured(item) for key, item in node.items()}
    if copied.get("type") in {"model", "dataclass", "typed-dict"}:
        own = copied.get("config") or {}
        copied["config"] = own if own.keys() & _JSON.keys() else {**_JSON, **own}
    return copied


def _payload_type(parameters: Sequence[Parameter], hints: Mapping[str, Any]) -> Any:
    # A type made at run time means nothing to a type checker.
    make_type: Any = TypedDict
    payload = make_type("Arguments", dict(_fields(parameters, hints)))
    payload.__pydantic_config__ = ConfigDict(extra="forbid")
    return payload


def _fields(parameters: Sequence[Parameter], hints: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for parameter in parameters:
        annotation: Any = hints.get(parameter.name, Any)
        if parameter.kind is Parameter.VAR_POSITIONAL:
            yield SignatureLayout.VAR_POSITIONAL, NotRequired[list[annotation]]
        elif parameter.kind is Parameter.VAR_KEYWORD:
            yield SignatureLayout.VAR_KEYWORD, NotRequired[dict[str, annotation]]
        elif parameter.default is Parameter.empty:
            yield parameter.name, annotation
        else:
            yield parameter.name, NotRequired[annotation]


def _problems(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        path = ".".join(str(step) for step in problem["loc"]) or "payload"
        yield f"{path}: {problem['msg']}"
