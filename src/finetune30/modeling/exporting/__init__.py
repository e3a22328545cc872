"""A saved adapter turned into a model of another form: merged into its base, as ONNX, as GGUF."""
