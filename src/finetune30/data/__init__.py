"""Rows: sources, validation, analysis, versions, batching."""
