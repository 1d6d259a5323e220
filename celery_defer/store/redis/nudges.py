"""Who rests until a run parks, told by Redis."""

from __future__ import annotations

from time import sleep
from typing import Any

__all__ = ["RedisNudges"]


class RedisNudges:
    """Listens to the channel that each parked run's due time goes through.

    From the first wait on, so that a process that forks until then shares no connection.
    """

    def __init__(self, client: Any, channel: str) -> None:
        self._pubsub = client.pubsub()
        self._channel = channel
        self._is_listening = False

    def wait(self, seconds: float) -> float | None:
        try:
            if not self._is_listening:
                self._pubsub.subscribe(self._channel)
                self._is_listening = True
            return _due(self._pubsub.get_message(timeout=seconds))
        except Exception:  # Redis is away: what it would tell of is found at the next look
            self._is_listening = False
            self._pubsub.reset()
            sleep(min(seconds, 1.0))
            return None

    def close(self) -> None:
        self._pubsub.close()


def _due(message: Any) -> float | None:
    if message is None:
        return None
    # Listening begins here, or begins again: what was told before is due for a look.
    return float(message["data"]) if message["type"] == "message" else 0.0
