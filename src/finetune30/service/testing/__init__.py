"""Test rows of a finished run: found without reading them, opened on request, every look on record."""
