"""The training loop, engines, evaluation and checkpoints: knows no database, no queue, no web."""
