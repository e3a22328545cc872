"""The states of a run, by what may still become of it."""

from __future__ import annotations

LIVE = ("QUEUED", "RUNNING", "PAUSED")
FINAL = ("SUCCEEDED", "FAILED", "CANCELLED")
STATUSES = (*LIVE, *FINAL)
