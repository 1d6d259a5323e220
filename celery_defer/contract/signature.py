"""How the arguments of a function without a schema are passed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import Parameter
from typing import Any

from pydantic_core import from_json, to_json

from celery_defer.contract.arguments import Arguments
from celery_defer.errors import PayloadError

_VARIABLE = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)

#: Annotations that say no more than none.
ANYTHING = (Any, object)


@dataclass(frozen=True, slots=True)
class SignatureLayout:
    """The caller passes the function's own arguments; the payload maps each name to its value.

    Values of ``*args`` and ``**kwargs`` are under these two keys, which no parameter can have.
    What was passed by position arrives by position, because a task's own ``__call__`` may read it.
    """

    VAR_POSITIONAL = "*args"
    VAR_KEYWORD = "**kwargs"

    task: str
    positional: tuple[str, ...]
    positional_only: int
    names: frozenset[str]
    has_var_positional: bool
    has_var_keyword: bool
    untyped: frozenset[str] = frozenset()
    #: What a function gets for each argument that a message leaves out.
    defaults: Mapping[str, Any] = field(default_factory=dict)
    #: The names of ``*args`` and ``**kwargs`` by their keys.
    variable: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, task: str, parameters: Sequence[Parameter], hints: Mapping[str, Any]
    ) -> SignatureLayout:
        kinds = [parameter.kind for parameter in parameters]
        only, either = Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD
        return cls(
            task,
            positional=tuple(p.name for p in parameters if p.kind in (only, either)),
            positional_only=kinds.count(only),
            names=frozenset(
                p.name for p in parameters if p.kind in (either, Parameter.KEYWORD_ONLY)
            ),
            has_var_positional=Parameter.VAR_POSITIONAL in kinds,
            has_var_keyword=Parameter.VAR_KEYWORD in kinds,
            untyped=frozenset(cls.key(p) for p in parameters if hints.get(p.name, Any) in ANYTHING),
            defaults={p.name: _default(p) for p in parameters if _is_optional(p)},
            variable={cls.key(p): p.name for p in parameters if cls.key(p) != p.name},
        )

    @classmethod
    def key(cls, parameter: Parameter) -> str:
        """Return the key under which the payload has the value of a parameter."""
        if parameter.kind is Parameter.VAR_POSITIONAL:
            return cls.VAR_POSITIONAL
        return cls.VAR_KEYWORD if parameter.kind is Parameter.VAR_KEYWORD else parameter.name

    def called(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if self.positional_only and not self.has_var_keyword:
            self._check_positional_only(kwargs)
        value = dict(kwargs) if not self.has_var_keyword else self._with_extra(kwargs)
        return {**value, **self._positional(args, kwargs)} if args else value

    sent = called

    def by_name(self, value: Any) -> Any:
        named = {self.variable.get(key, key): item for key, item in value.items()}
        return {**self.defaults, **named}

    def spread(self, value: Any, count: int) -> Arguments:
        named = dict(value)
        extra = named.pop(self.VAR_KEYWORD, {})
        rest = named.pop(self.VAR_POSITIONAL, [])
        args = [named.pop(name) for name in self.positional[:count] if name in named]
        return [*args, *rest], {**named, **extra}

    def carry(self, value: bytes, count: int) -> bytes:
        if count or self.has_var_keyword:
            return to_json(self.spread(from_json(value), count))
        return b"[[],%b]" % value

    def _check_positional_only(self, kwargs: Mapping[str, Any]) -> None:
        if named := [name for name in self.positional[: self.positional_only] if name in kwargs]:
            raise PayloadError(f"{self.task} takes {', '.join(named)} by position only")

    def _with_extra(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        named = {key: item for key, item in kwargs.items() if key in self.names}
        extra = {key: item for key, item in kwargs.items() if key not in self.names}
        return {**named, self.VAR_KEYWORD: extra} if extra else named

    def _positional(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        count = len(self.positional)
        twice = [
            name for name in self.positional[: len(args)] if name in kwargs.keys() & self.names
        ]
        if twice:
            raise PayloadError(f"{self.task} got {', '.join(twice)} twice")
        if len(args) > count and not self.has_var_positional:
            raise PayloadError(f"{self.task} takes {count} positional arguments, not {len(args)}")
        named = dict(zip(self.positional, args, strict=False))
        return {**named, self.VAR_POSITIONAL: list(args[count:])} if len(args) > count else named


def _is_optional(parameter: Parameter) -> bool:
    return parameter.default is not Parameter.empty or parameter.kind in _VARIABLE


def _default(parameter: Parameter) -> Any:
    if parameter.kind in _VARIABLE:
        return [] if parameter.kind is Parameter.VAR_POSITIONAL else {}
    return parameter.default
