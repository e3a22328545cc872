"""Asking a finished model."""
