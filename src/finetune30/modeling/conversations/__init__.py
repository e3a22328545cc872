"""Conversations under a model's chat template: as text, as tokens, and which of these carry loss."""
