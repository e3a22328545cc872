"""What several problems have in common: columns of a text and its target, classification heads, faults at a row."""
