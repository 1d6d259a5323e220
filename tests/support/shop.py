"""What the shop of the simulation's tests speaks of."""

from __future__ import annotations

from datetime import datetime, timezone

from pydantic import BaseModel

__all__ = ["MONDAY", "GatewayDown", "OrderPlaced", "charge"]

MONDAY = datetime(2030, 1, 7, 9, tzinfo=timezone.utc)


class OrderPlaced(BaseModel):
    order_id: str
    at: datetime


class GatewayDown(Exception):
    pass


def charge() -> str:
    raise GatewayDown("the real one was called")
