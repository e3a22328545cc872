"""Carrying queued runs out: messages, workers, the supervisor of an attempt, the reconciler. Knows no torch."""
