"""Training rows whose labels are probably wrong: found, reviewed, searched for in the background."""
