"""Finished models in forms that others load, each held against the adapter before it is there."""
