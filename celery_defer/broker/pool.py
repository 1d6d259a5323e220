"""The connections on which a worker's main process publishes."""

from __future__ import annotations

from typing import Any

from kombu import pools
from kombu.connection import ConnectionPool


class MainConnections(ConnectionPool):
    """The main process's connections for publishing, which its children do not close.

    A child closes the pools that it inherits (kombu.resource registers that with billiard), and
    amqp closes a connection by shutting down its socket, which the main process shares.
    """

    close_after_fork = False

    @classmethod
    def of(cls, app: Any) -> MainConnections:
        return cls(app.connection_for_write(), limit=app.conf.broker_pool_limit)

    def take_over(self) -> None:
        """Become ``app.pool``, unless the app has used its pool already."""
        pools.connections[self.connection] = self
