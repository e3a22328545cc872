"""Conversations as rows: one canonical form, the formats it is read from, and what may be wrong with one.

Neither torch nor transformers is imported here: templates and tokens are `modeling`'s.
"""
