"""Analysis: what a data set holds, whether two of them differ, and a report to read."""
