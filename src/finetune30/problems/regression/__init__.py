"""Regression: a text (or two) asks for one number."""
