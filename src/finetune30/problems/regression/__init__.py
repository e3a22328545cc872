"""A number a row: scores and quantities of texts."""
