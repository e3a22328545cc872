"""Dataset versions: immutable sets of rows named by their content, stored once, found again by digest or tag."""
