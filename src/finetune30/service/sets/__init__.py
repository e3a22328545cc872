"""Runs that belong together: seeds of one configuration, folds or shares of its rows, and what they say together."""
