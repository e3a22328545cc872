"""MLflow, over its REST API: https://mlflow.org/docs/latest/rest-api.html.

MLflow's own client tries again for minutes where a server is away, so it is not used. A run is found again by its tags,
and a point that is sent twice is kept once, since it has the same time, step and value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from finetune30.errors import ServiceUnavailableError, TrackerError
from finetune30.service.mirrors.protocol import Group, Point, Remote, RunFacts
from finetune30.service.mirrors.trackers.requests import JsonRequests
from finetune30.store import RunStatus

NAME = "mlflow"
URL_VARIABLE = "FT30_MLFLOW_URL"
#: What one request may hold: https://mlflow.org/docs/latest/rest-api.html#request-limits.
_MOST_METRICS, _MOST_PARAMETERS, _MOST_TAGS = 1000, 100, 100
#: Characters of a value; of tags, servers of releases before 2.8 take fewer and say so.
_LONGEST_PARAMETER, _LONGEST_TAG, _LONGEST_KEY = 6000, 8000, 250
_UNFIT = re.compile(r"[^\w/. :-]", re.ASCII)
_MISSING, _EXISTS = "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"
_STATES = {
    RunStatus.QUEUED: "SCHEDULED",
    RunStatus.RUNNING: "RUNNING",
    RunStatus.PAUSED: "SCHEDULED",
    RunStatus.SUCCEEDED: "FINISHED",
    RunStatus.FAILED: "FAILED",
    RunStatus.CANCELLED: "KILLED",
}
_PREFIX = "finetune30."
_NOTE = "mlflow.note.content"
T = TypeVar("T")


class MLflow:
    """Runs of one experiment on a tracking server; those of a search or set are nested below a run of its name."""

    def __init__(
        self, url: str, experiment: str, *, headers: Mapping[str, str] | None = None, timeout_seconds: float
    ) -> None:
        self._url, self._experiment = url.rstrip("/"), experiment
        self._experiment_id: str | None = None
        base_url = f"{self._url}/api/2.0/mlflow/"
        self._requests = JsonRequests("MLflow", URL_VARIABLE, base_url, dict(headers or {}), timeout_seconds)

    @property
    def name(self) -> str:
        """The mirror's name."""
        return NAME

    @property
    def target(self) -> str:
        """Address and experiment."""
        return f"{self._url} {self._experiment}"

    def open(self, facts: RunFacts, generation: int) -> Remote:
        """Find the run by its tags, else begin it, and give it its parameters."""
        tags = {"run_id": facts.id, "generation": str(generation)}
        known = self._find(tags)
        if known is None:
            began = facts.began_at.timestamp()
            parent = {} if facts.group is None else {"mlflow.parentRunId": self._open_group(facts.group, began)}
            known = self._begin(facts.name, began, tags, parent)
        parameters = [
            {"key": _fit(key), "value": _cut(value, _LONGEST_PARAMETER)} for key, value in facts.parameters.items()
        ]
        for some in _in_pieces(parameters, _MOST_PARAMETERS):
            self._post("runs/log-batch", run_id=known, params=some)
        return {"run_id": known}

    def send(self, remote: Remote, points: Sequence[Point]) -> Remote:
        """Add the numbers under the names that they have in history.jsonl; those of the finished model as `final/…`."""
        metrics = (
            {
                "key": _fit(f"final/{name}" if point.kind == "final" else name),
                "value": value,
                "timestamp": round(point.at * 1000),
                "step": point.step,
            }
            for point in points
            for name, value in point.values.items()
        )
        for some in _in_pieces(metrics, _MOST_METRICS):
            self._post("runs/log-batch", run_id=remote["run_id"], metrics=some)
        return remote

    def tell(self, remote: Remote, facts: RunFacts) -> Remote:
        """Set name, state, note and tags; those that the run has no more, such as its error, are taken away."""
        too_long = [key for key, value in facts.parameters.items() if len(value) > _LONGEST_PARAMETER]
        tags = {_PREFIX + key: value for key, value in facts.tags.items()}
        tags |= {_NOTE: facts.note, _PREFIX + "cut": ", ".join(too_long)}
        told = _as_pairs({key: value for key, value in tags.items() if value})
        for key in self._list_tags(remote) - {tag["key"] for tag in told}:
            self._post("runs/delete-tag", run_id=remote["run_id"], key=key)
        for some in _in_pieces(told, _MOST_TAGS):
            self._post("runs/log-batch", run_id=remote["run_id"], tags=some)
        ended = {} if facts.ended_at is None else {"end_time": round(facts.ended_at.timestamp() * 1000)}
        state = {"status": _STATES[facts.status], "run_name": facts.name}
        self._post("runs/update", run_id=remote["run_id"], **state, **ended)
        return remote

    def discard(self, remote: Remote) -> None:
        """Delete the run; MLflow keeps it among the deleted ones."""
        try:
            self._post("runs/delete", run_id=remote["run_id"])
        except TrackerError as error:
            if error.details.get("error_code") != _MISSING:
                raise

    def close(self) -> None:
        """Close the connections."""
        self._requests.close()

    def _list_tags(self, remote: Remote) -> set[str]:
        """Return the keys of what `tell` told of a run before."""
        found = self._requests.ask("GET", "runs/get", {"run_id": remote["run_id"]})
        data = self._requests.take(found, "run", "data")
        keys = {str(self._requests.take(tag, "key")) for tag in data.get("tags", ())}
        return {key for key in keys if key == _NOTE or key.startswith(_PREFIX)} - {_PREFIX + "generation"}

    def _open_group(self, group: Group, began: float) -> str:
        tags = {"group_id": group.id}
        known = self._find(tags)
        if known is None:
            known = self._begin(group.name, began, {**tags, "group_kind": group.kind}, {})
            self._post("runs/update", run_id=known, status="FINISHED")
        return known

    def _begin(self, name: str, at: float, tags: Mapping[str, str], others: Mapping[str, str]) -> str:
        told = _as_pairs({_PREFIX + key: value for key, value in tags.items()} | dict(others))
        experiment, began = self._find_experiment(), round(at * 1000)
        made = self._post("runs/create", experiment_id=experiment, run_name=name, tags=told, start_time=began)
        return str(self._requests.take(made, "run", "info", "run_id"))

    def _find(self, tags: Mapping[str, str]) -> str | None:
        chosen = " and ".join(f"tags.`{_PREFIX}{key}` = '{value}'" for key, value in tags.items())
        found = self._post("runs/search", experiment_ids=[self._find_experiment()], filter=chosen, max_results=1)
        return next((str(self._requests.take(run, "info", "run_id")) for run in found.get("runs", ())), None)

    def _find_experiment(self) -> str:
        if self._experiment_id is None:
            self._experiment_id = self._get_experiment() or self._make_experiment()
        return self._experiment_id

    def _get_experiment(self) -> str | None:
        try:
            found = self._requests.ask("GET", "experiments/get-by-name", {"experiment_name": self._experiment})
        except TrackerError as error:
            if error.details.get("error_code") == _MISSING:
                return None
            raise
        experiment = self._requests.take(found, "experiment")
        number = str(self._requests.take(experiment, "experiment_id"))
        if experiment.get("lifecycle_stage") == "deleted":
            raise ServiceUnavailableError(
                f"the experiment {self._experiment!r} of MLflow at {self._url} was deleted there",
                f"restore experiment {number} there, or name another one: FT30_MLFLOW_EXPERIMENT=NAME",
            )
        return number

    def _make_experiment(self) -> str:
        try:
            made = self._post("experiments/create", name=self._experiment)
            return str(self._requests.take(made, "experiment_id"))
        except TrackerError as error:
            known = self._get_experiment() if error.details.get("error_code") == _EXISTS else None
            if known is None:
                raise
            return known

    def _post(self, path: str, **tree: Any) -> dict[str, Any]:
        """Ask; what MLflow refuses may be so because somebody deleted the experiment, and then that is said."""
        try:
            return self._requests.ask("POST", path, tree)
        except TrackerError:
            if path.startswith("runs/"):
                self._experiment_id = None
                self._get_experiment()
            raise


def _as_pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": _fit(key), "value": _cut(value, _LONGEST_TAG)} for key, value in values.items()]


def _fit(name: str) -> str:
    """Return a name as MLflow takes it; letters and signs beyond its set become underscores."""
    return _UNFIT.sub("_", name)[:_LONGEST_KEY]


def _cut(value: str, longest: int) -> str:
    return value if len(value) <= longest else value[: longest - 1] + "…"


def _in_pieces(items: Iterable[T], size: int) -> Iterator[list[T]]:
    rest = iter(items)
    while piece := list(islice(rest, size)):
        yield piece
