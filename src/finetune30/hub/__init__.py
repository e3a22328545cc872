"""The Hugging Face hub: what a name stands for, files fetched once and checked, faults told apart."""
