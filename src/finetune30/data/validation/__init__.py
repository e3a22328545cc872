"""Validation: rules that mark rows, findings that name places, and the gate that decides before any training."""
