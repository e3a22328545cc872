"""The REST API: parse, one service call, JSON. Knows no torch."""
