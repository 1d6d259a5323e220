"""What every follow-up carries, whichever way it is sent."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

__all__ = ["ORDER"]

ORDER: dict[str, Any] = {
    "order_id": "ord-2024-000117",
    "lines": 3,
    "total": 129.95,
    "placed_at": datetime(2024, 5, 17, 8, 30, tzinfo=timezone.utc),
    "tags": ["first-order", "gift", "express"],
}
