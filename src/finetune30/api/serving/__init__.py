"""Finished models over HTTP: one server, its own port, a few names."""
