"""Base model, tokenizer, adapters, device and precision, saving and loading."""
