"""Answers to questions are graded: two texts, neither of which may be missing, and a grade."""
