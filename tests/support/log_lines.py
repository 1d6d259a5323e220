"""Watches that each line of the package has the ids of the run that its text names."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

_IDS = ("run_id", "parent_id", "defer_id")
_CALL = re.compile(r"defer %[rs] of run %s")
_RUN = re.compile(r"\brun %s")


class Watch(logging.Handler):
    """Collects the lines whose ids are missing, or are those of another run."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.wrong: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        ids = {name: vars(record).get(name, "missing") for name in _IDS}
        if not _is_right(record, ids):
            self.wrong.append(f"{record.getMessage()}: {ids}")


def _is_right(record: logging.LogRecord, ids: dict[str, object]) -> bool:
    if "missing" in ids.values():
        return False
    if _CALL.search(record.msg) and isinstance(record.args, tuple):
        call, parent = record.args[:2]
        return call in (ids["defer_id"], repr(ids["defer_id"])) and parent == ids["parent_id"]
    return all(id in (ids["run_id"], ids["parent_id"]) for id in _named(record))


def _named(record: logging.LogRecord) -> Iterator[object]:
    """Yield the ids of runs in a line's text."""
    args = record.args if isinstance(record.args, tuple) else ()
    for found in _RUN.finditer(record.msg):
        yield args[record.msg[: found.end()].replace("%%", "").count("%") - 1]
