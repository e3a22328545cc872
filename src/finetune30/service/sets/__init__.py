"""Runs that belong together: seeds of one configuration, folds of one data set, and what they say together."""
