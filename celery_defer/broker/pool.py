"""The connections on which a worker's main process publishes."""

from __future__ import annotations

from typing import Any

from kombu import pools
from kombu.connection import ConnectionPool


class MainConnections(ConnectionPool):
    """The main process's connections for publishing, which its children leave alone.

    A child closes what it has inherited (kombu.resource registers that with billiard), and
    amqp closes a connection by shutting its socket down, which is the main process's too.
    """

    close_after_fork = False

    @classmethod
    def of(cls, app: Any) -> MainConnections:
        return cls(app.connection_for_write(), limit=app.conf.broker_pool_limit)

    def take_over(self) -> None:
        """Be what ``app.pool`` answers, unless that has been asked for before."""
        pools.connections[self.connection] = self
