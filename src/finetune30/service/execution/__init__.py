"""One run, from the claimed row to the published result; and again: resumed, replayed, started from weights."""
