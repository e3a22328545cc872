"""Leases of looks at test rows: whoever takes one holds it and says so again and again, so that no other begins."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from finetune30.store.process_identity import is_dead, own_identity


def lease_values(now: datetime, seconds: float) -> dict[str, Any]:
    """Return the columns by which this process holds a look for so many seconds from now on."""
    return {"held_by": own_identity(), "held_until": now + timedelta(seconds=seconds)}


def goes_on(row: Any, now: datetime) -> bool:
    """Tell whether a look is being taken: it has not ended, its lease runs, and its process is not known to be gone."""
    if row.ended_at is not None or row.held_until is None or row.held_until <= now:
        return False
    return row.held_by is None or not is_dead(row.held_by)
