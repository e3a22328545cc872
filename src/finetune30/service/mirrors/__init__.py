"""Carrying what is on record to trackers of other makers, after the fact and from a process of its own."""
