"""What models are made of: blocks that put parts together, forwards and backwards."""
