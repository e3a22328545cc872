"""Speed, memory and accuracy beside transformers' Trainer, measured in one run on one machine."""
