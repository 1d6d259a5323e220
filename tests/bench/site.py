"""Where a bench runs: a broker, and a Redis database for results and for what workers tell."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count

import redis
from kombu import Connection

from tests.support.rabbitmq import RABBITMQ as LOCAL
from tests.support.redis import durable, own_database, running

__all__ = ["RABBITMQ", "Site", "apart_site", "own_site", "rabbitmq_sites", "redis_site"]

RABBITMQ = os.environ.get("DEFER_RABBITMQ_URL", f"{LOCAL}//")
_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Site:
    """A broker, under a name for the table, and a Redis database that is the bench's own."""

    name: str
    broker: str
    database: str
    #: A result backend that is no Redis leaves the package without a store.
    backend: str
    #: Whether RabbitMQ confirms each message, also those of ``.delay()`` and ``link=``.
    confirms: bool = False

    def queue(self, use: str) -> str:
        """Return a name that no other queue of the broker has."""
        return f"defer-bench-{os.getpid()}-{next(_numbers)}-{use}"

    @property
    def is_on_redis(self) -> bool:
        return self.broker.startswith("redis")

    def purge(self, queue: str) -> None:
        """Drop the messages of *queue*."""
        if self.is_on_redis:
            with redis.Redis.from_url(self.broker) as client:
                client.delete(queue)
            return
        with Connection(self.broker) as connection:
            connection.default_channel.queue_purge(queue)

    def delete(self, queue: str) -> None:
        """Take *queue* and the exchange of its name away; Redis forgets them with the database."""
        if self.is_on_redis:
            return
        with Connection(self.broker) as connection:
            connection.channel().queue_delete(queue)
            connection.channel().exchange_delete(queue)


@contextmanager
def redis_site() -> Iterator[Site]:
    with own_database() as database:
        yield Site("redis", database, database, database)


@contextmanager
def apart_site() -> Iterator[Site]:
    """Start a second Redis for the messages; the results stay in the first."""
    with own_database() as database, running() as server:
        yield Site("two redis", f"{server.url}/0", database, database)


@contextmanager
def own_site(fsync: str | None = None) -> Iterator[Site]:
    """Start a Redis that is broker, result backend and store, and end it after.

    Crowds of parked runs need room; with *fsync*, which says when a write is on disk, it has an
    append-only file.
    """
    with running(*(durable(fsync) if fsync else ())) as server:
        url = f"{server.url}/0"
        yield Site("redis", url, url, url)


@contextmanager
def rabbitmq_sites() -> Iterator[list[Site]]:
    """Give the sites whose broker is RabbitMQ: with store and confirms, and with neither.

    None, and a line on stderr, where no RabbitMQ answers.
    """
    if not _answers(RABBITMQ):
        print("no RabbitMQ answers: its figures are left out", file=sys.stderr)
        yield []
        return
    with own_database() as database:
        yield [
            Site("rabbitmq", RABBITMQ, database, database, confirms=True),
            Site("rabbitmq, no store", RABBITMQ, database, "rpc://"),
        ]


def _answers(url: str) -> bool:
    with Connection(url, connect_timeout=2) as connection:
        try:
            connection.connect()
        except OSError:
            return False
    return True
