"""One file a tracker: how what is on record is written there."""
