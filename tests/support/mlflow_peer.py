"""Run by a Python that has MLflow: reads runs of an experiment with its own client and prints them, as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any


def main(address: str, experiment: str) -> None:
    from mlflow.tracking import MlflowClient  # type: ignore[import-not-found]

    client: Any = MlflowClient(address)
    found: list[dict[str, Any]] = []
    for run in client.search_runs([client.get_experiment_by_name(experiment).experiment_id]):
        history = {
            key: [
                (point.step, point.timestamp, point.value) for point in client.get_metric_history(run.info.run_id, key)
            ]
            for key in run.data.metrics
        }
        info = {"id": run.info.run_id, "name": run.info.run_name, "status": run.info.status}
        times = {"start_time": run.info.start_time, "end_time": run.info.end_time}
        found.append({**info, **times, "params": run.data.params, "tags": run.data.tags, "metrics": history})
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
