"""Finished models that serve under their names: rows asked together, versions swapped while they answer."""
