"""Language models: supervised fine-tuning on conversations, prompts with completions, and plain texts."""
