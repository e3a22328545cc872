"""Whether a finished model answers when it serves as it did when it was evaluated."""
