"""The GPUs of this machine, and who uses them: what workers and trainings at a terminal have to agree on."""
