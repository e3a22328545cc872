"""What numbers of a run are worth: intervals, paired tests, how many rows tell a difference. No runs, no files."""
