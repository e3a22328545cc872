"""Searches over configurations: which trials, in which order, and what came of them."""
