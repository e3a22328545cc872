"""Readers: one module a format; each returns a `SourceTable` whose rows know where they came from."""
