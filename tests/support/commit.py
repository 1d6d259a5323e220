"""Which way the apps under test commit a run's end and its calls: what ``defer_commit`` they set.

DEFER_COMMIT in the environment says so to every app that a worker is given. Where nobody has
set it, the tests that try each way set it for their workers.
"""

from __future__ import annotations

import os

__all__ = ["VARIABLE", "WAYS", "settings"]

VARIABLE = "DEFER_COMMIT"
#: The ways to be tried.
WAYS = (os.environ[VARIABLE],) if os.environ.get(VARIABLE) else ("result", "signal")


def settings() -> dict[str, str]:
    """Return the setting of an app in this process, a worker."""
    way = os.environ.get(VARIABLE)
    return {"defer_commit": way} if way else {}
