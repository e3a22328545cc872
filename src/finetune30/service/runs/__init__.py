"""Looking at what was run: where records are, listings, comparisons, logs."""
