"""What the shop calls: a warehouse, mail servers, a page cache and a ledger, all kept in Redis."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import redis

__all__ = ["SHELF", "MailServerDownError", "OutOfStockError", "Services"]

#: The warehouse has no more than this of anything.
SHELF = 500


class OutOfStockError(Exception):
    """The warehouse has less than was ordered."""


class MailServerDownError(Exception):
    """The mail server of an address does not answer."""


class Services:
    """The services of one shop, in the database of *redis_url*."""

    def __init__(self, redis_url: str) -> None:
        # redis-py's types do not say what `decode_responses` does.
        self._redis: Any = redis.Redis.from_url(redis_url, decode_responses=True)

    # -- what the shop asks of them ---------------------------------------------------

    def take_from_shelf(self, item: str, quantity: int) -> None:
        if quantity > SHELF:
            raise OutOfStockError(f"{quantity} of {item!r}, and {SHELF} on the shelf")

    def mail(self, address: str, text: str) -> None:
        domain = address.partition("@")[2]
        if self._redis.exists(_down(domain)) and self._redis.decr(_down(domain)) >= 0:
            raise MailServerDownError(f"{domain} does not answer")
        self._redis.rpush("mail", f"To: {address}\n\n{text}")

    def drop_from_cache(self, pages: Iterable[str]) -> None:
        self._redis.srem("cache", *pages)

    def enter_in_ledger(self, entry: str) -> None:
        # A list, so that an entry made twice is seen twice.
        self._redis.rpush("ledger", entry)

    # -- what the demo prepares before the orders, and reads after them -----------------

    def take_mail_server_down(self, domain: str, connections: int) -> None:
        """Let the mail server of *domain* refuse so many connections, then come back."""
        self._redis.set(_down(domain), connections)

    def fill_cache(self, pages: Iterable[str]) -> None:
        self._redis.sadd("cache", *pages)

    def mails(self) -> list[str]:
        return list(self._redis.lrange("mail", 0, -1))

    def cached(self) -> frozenset[str]:
        return frozenset(self._redis.smembers("cache"))

    def ledger(self) -> list[str]:
        return list(self._redis.lrange("ledger", 0, -1))


def _down(domain: str) -> str:
    return f"mail-server-down:{domain}"
