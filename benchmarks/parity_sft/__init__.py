"""Fine-tuning of language models beside TRL's: the same rows, masks and losses, step by step."""
