"""The package's settings, from ``app.conf.defer_*``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ImportString, ValidationError, field_validator

from celery_defer.errors import SettingsError
from celery_defer.text import masked

_DAY = 86_400.0

#: The URL schemes of Celery that lead to a Redis.
STORES = frozenset({"redis", "rediss", "sentinel", "redis+socket"})

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


PREFIX = "defer_"


class Settings(BaseModel):
    """The values of ``app.conf.defer_*``; docs/reference/settings describes each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    strict: bool = False
    max_per_run: Annotated[int, Field(ge=1)] = 10_000
    max_payload_bytes: Annotated[int, Field(ge=1)] = 1024 * 1024
    max_depth: Annotated[int, Field(ge=0)] = 32
    store_url: Annotated[str | None, Field(repr=False)] = None  # it may have a password
    key_prefix: str = "celery-defer:"
    grace: Seconds = 10.0
    # The store sends alarms only for what is due within a minute.
    relay_interval: Annotated[float, Field(gt=0, le=60)] = 1.0
    result_expires: Seconds = _DAY
    claim_expires: Seconds = _DAY
    event_retention: Seconds = _DAY
    max_events: Annotated[int, Field(ge=1)] = 10_000
    score_retention: Seconds = 90 * _DAY
    #: For how long a run that executes keeps its place of a limit without a sign of life.
    lease: Annotated[float, Field(ge=1, le=3600)] = 30.0
    #: "signal" forces the general way: publication from Celery's ``task_success``.
    commit: Literal["result", "signal"] = "result"
    record: bool = True
    #: A function of a task's name and a payload returns the payload for the record.
    record_payloads: bool | ImportString[Callable[[str, Any], Any]] = True
    #: Whether messages may be written on the pattern of one that Celery has made.
    fast_messages: bool = True

    @field_validator("store_url")
    @classmethod
    def _is_redis(cls, url: str | None) -> str | None:
        if url is not None and url.partition("://")[0] not in STORES:
            raise ValueError(f"a store is a Redis, so its URL begins with one of {sorted(STORES)}")
        return url

    @property
    def outbox_keeps(self) -> float:
        """Seconds for which a record waits for its parent's end, or for a broker."""
        return max(self.result_expires, 7 * _DAY)

    @property
    def run_keeps(self) -> float:
        """Seconds for which a run that has not ended keeps its steps, from the last one on."""
        return self.outbox_keeps

    @property
    def end_keeps(self) -> float:
        """Seconds for which a run that has ended keeps its steps: for late deliveries of it."""
        return max(self.result_expires, _DAY)

    @classmethod
    def read(cls, conf: Mapping[str, Any], namespace: str | None = None) -> Settings:
        """Read the ``defer_*`` keys of *conf*; raise SettingsError for a wrong name or value.

        With a *namespace*, as ``app.config_from_object`` takes it, they may also be written
        ``CELERY_DEFER_*``.
        """
        names = {name for key in conf if (name := _plain(str(key), namespace))}
        values = {name.removeprefix(PREFIX): conf.get(name) for name in names}
        try:
            return cls.model_validate({"result_expires": conf.get("result_expires"), **values})
        except ValidationError as error:
            raise SettingsError("; ".join(map(_problem, error.errors()))) from error

    @field_validator("result_expires", mode="before")
    @classmethod
    def _in_seconds(cls, value: Any) -> Any:
        # Celery's own may be a timedelta; None and 0 keep results for ever.
        return value.total_seconds() if isinstance(value, timedelta) else value or _DAY

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Return the default of each setting, under its name in ``app.conf``."""
        return {f"{PREFIX}{name}": field.default for name, field in cls.model_fields.items()}


def _plain(key: str, namespace: str | None) -> str | None:
    """Return the name of the setting in *key*; None if it is not the package's.

    It is in lower case, as in ``app.conf``, or in capitals after the namespace. ``DEFER_…`` without
    the namespace, in a Django project, is not the package's.
    """
    if key.startswith(PREFIX):
        return key
    start = f"{namespace.rstrip('_')}_{PREFIX}".upper() if namespace else None
    return PREFIX + key[len(start) :].lower() if start and key.startswith(start) else None


def _problem(problem: Mapping[str, Any]) -> str:
    name = f"{PREFIX}{problem['loc'][0]}"
    if problem["type"] != "extra_forbidden":
        return f"setting {name} = {masked(repr(problem['input']))}: {problem['msg']}"
    near = get_close_matches(name, Settings.defaults(), n=1)
    return f"setting {name} does not exist" + (f"; did you mean {near[0]}?" if near else "")
