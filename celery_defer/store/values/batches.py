"""The values of batches: calls that are gathered until one run takes them all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from celery_defer.ids import RunId


@dataclass(frozen=True, slots=True)
class BatchKind:
    """Which calls go together: those of one function that have one key, say.

    A batch leaves with ``most`` calls, with ``most_bytes`` of them, or ``timeout`` seconds after
    the first. Its record begins with ``head``. ``owner`` names the task in the owners of runs.
    """

    name: str
    owner: str
    token: str
    head: bytes
    most: int
    most_bytes: int
    timeout: float


class Member(NamedTuple):
    """A call that is to go in a batch of a kind; *line* is what the record gets.

    A tuple, because a run may make ten thousand.
    """

    kind: int
    id: RunId
    line: bytes
