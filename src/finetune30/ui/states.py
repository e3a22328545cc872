"""The states of a run, by what may still become of it."""

from __future__ import annotations

LIVE = ("QUEUED", "RUNNING")
FINAL = ("SUCCEEDED", "FAILED", "CANCELLED")
STATUSES = (*LIVE, "PAUSED", *FINAL)
