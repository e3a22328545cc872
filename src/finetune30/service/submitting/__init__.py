"""What somebody who submits a run sees: the request, its limits, the estimate, the state of the task."""
