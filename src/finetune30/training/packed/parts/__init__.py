"""The parts of a layer: a protocol each, and its form with PyTorch's operators; compiled forms are in `native`."""
