"""What has to be seen on a machine with a GPU, as one prepared script: `python -m benchmarks.gpu_check --help`."""
