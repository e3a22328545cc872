"""Models by name: immutable versions made of finished runs, aliases that lead to them, cards and their search."""
