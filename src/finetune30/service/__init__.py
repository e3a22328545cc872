"""Use cases: submit, execute one run, list, compare, predict."""
