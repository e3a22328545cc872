"""A small HTTP client of the REST API: one method a question, plain JSON out, two kinds of failure."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import httpx

from finetune30.ui.answer_events import read_events
from finetune30.ui.file_calls import FileCalls
from finetune30.ui.model_calls import ModelCalls, path_part
from finetune30.ui.set_calls import SetCalls

CONNECT_SECONDS = 2.0
READ_SECONDS = 30.0
#: Validation, previews and first predictions load data or a model.
SLOW_READ_SECONDS = 180.0
HEALTH_SECONDS = 1.5
#: Texts in one request to a model.
TEXTS_A_REQUEST = 256
#: Runs in one request to change many.
RUNS_A_REQUEST = 100

Json = dict[str, Any]


class ApiUnreachableError(Exception):
    """The API does not answer (or stopped in the middle of an answer)."""


class ApiError(Exception):
    """The API refused: its one error shape, plus the HTTP status."""

    def __init__(
        self, status: int, code: str, message: str, remedy: str = "", details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.remedy = status, code, message, remedy
        self.details = dict(details or {})

    def as_dict(self) -> Json:
        """Return what a person is told of it: error, message, remedy."""
        return {"error": self.code, "message": self.message, "remedy": self.remedy}

    @property
    def is_missing_route(self) -> bool:
        """Whether an API of another version does not know the question at all."""
        return self.status in (404, 405) and self.message.startswith("there is no ") and " /" in self.message

    @property
    def faults(self) -> list[Json]:
        """Faults of a configuration: key (dotted), problem, hint."""
        found = self.details.get("faults")
        return [fault for fault in found if isinstance(fault, dict)] if isinstance(found, list) else []


class ApiClient(ModelCalls, SetCalls, FileCalls):
    """Speaks to one API with one key. Raises ApiError and ApiUnreachableError."""

    def __init__(self, base_url: str, key: str | None = None, *, transport: httpx.BaseTransport | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._http = httpx.Client(
            base_url=self.base_url,
            headers=headers,
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            transport=transport,
            trust_env=False,  # the address is the API's own; a proxy of the environment would see the key
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # -- the API itself

    def is_up(self) -> bool:
        """Tell whether the API answers."""
        try:
            return self._http.get("/healthz", timeout=HEALTH_SECONDS).status_code < 500
        except httpx.HTTPError:
            return False

    def load_health(self) -> Json:
        """Return how services, workers and the API's machine are."""
        return self._json("GET", "/status")

    # -- configuration

    def load_schema(self) -> Json:
        """Return the JSON Schema of a configuration."""
        return self._json("GET", "/config/schema")

    def load_presets(self) -> list[Json]:
        """Return name and summary of every shipped configuration."""
        return _listed(self._json("GET", "/config/presets"), "presets")

    def load_preset(self, name: str) -> Json:
        """Return the configuration tree of a preset."""
        tree: Json = self._json("GET", f"/config/presets/{path_part(name)}")["config"]
        return tree

    def check_config(self, body: Json) -> Json:
        """Return `config` (complete), `yaml` and `notes` of a request to train (or of `{"yaml": text}`).

        Every fault comes as one ApiError.
        """
        return self._json("POST", "/config/validate", json=body)

    def estimate(self, body: Json) -> Json:
        """Return what a request to train will take: steps, parameters, memory, seconds; null where unknown."""
        return self._json("POST", "/config/estimate", json=body)

    def load_caller(self) -> Json:
        """Return who asks: `name`, `role`, `highest_priority`, `asks`."""
        return self._json("GET", "/me")

    # -- tasks

    def submit(self, body: Json, idempotency_key: str) -> Json:
        """Submit a run; the same key and body never make a second one."""
        return self._json("POST", "/train", json=body, headers={"Idempotency-Key": idempotency_key})

    def load_task(self, task_id: str) -> Json:
        """Return state, place in the queue, progress, result or error, times."""
        return self._json("GET", f"/task/{path_part(task_id)}")

    def cancel(self, task_id: str) -> Json:
        """Ask a run to stop."""
        return self._json("POST", f"/task/{path_part(task_id)}/cancel")

    def retry(self, task_id: str) -> Json:
        """Queue a failed or cancelled run again."""
        return self._json("POST", f"/task/{path_part(task_id)}/retry")

    # -- experiments

    def find_experiments(self, **filters: Any) -> tuple[list[Json], str | None]:
        """Return one page of runs and the cursor of the next."""
        kept = {name: value for name, value in filters.items() if value not in (None, "", [], ())}
        body = self._json("GET", "/experiments", params=kept)
        return _listed(body, "experiments"), body.get("next_cursor")

    def find_page(self, **filters: Any) -> Json:
        """Return one page of runs (`experiments`, `next_cursor`) with their `values`, and what differs among them."""
        kept = {name: value for name, value in filters.items() if value not in (None, "", [], ())}
        return self._json("GET", "/experiments", params={**kept, "differences": "true"})

    def edit_experiment(self, run_id: str, changes: Json, edits: int) -> Json:
        """Write on a run: name, note, tags, starred, archived. `edits` of the run as it was seen guards the others'."""
        return self._json("PATCH", f"/experiments/{path_part(run_id)}", json={**changes, "edits": edits})

    def change_many(self, action: str, run_ids: Sequence[str], marks: Json | None = None) -> list[Json]:
        """Cancel, delete or edit (with `marks`) runs; return name, outcome and error of each."""
        answers: list[Json] = []
        for start in range(0, len(run_ids), RUNS_A_REQUEST):
            body = {"action": action, "ids": list(run_ids[start : start + RUNS_A_REQUEST]), **(marks or {})}
            answers += self._json("POST", "/experiments/bulk", json=body, timeout=SLOW_READ_SECONDS)["runs"]
        return answers

    def load_statistics(self) -> Json:
        """Return totals by state, accuracy, runtime, the last 30 days."""
        return self._json("GET", "/experiments/stats")

    def load_experiment(self, run_id: str) -> Json:
        """Return everything the row of a run tells."""
        return self._json("GET", f"/experiments/{path_part(run_id)}")

    def load_history(self, run_id: str, after: int = 0) -> Json:
        """Return `records` from number `after` on, `next` to ask with, and the `attempt` they belong to."""
        return self._json("GET", f"/experiments/{path_part(run_id)}/history", params={"after": after})

    def load_log(self, run_id: str, tail: int = 200) -> list[str]:
        """Return the last lines of the run's log."""
        body = self._json("GET", f"/experiments/{path_part(run_id)}/logs", params={"tail": tail})
        return str(body.get("text", "")).splitlines()

    def load_config_text(self, run_id: str) -> str:
        """Return a run's configuration as YAML."""
        return str(self._json("GET", f"/experiments/{path_part(run_id)}/config")["yaml"])

    def load_report(self, run_id: str) -> Json:
        """Return the data report of a run."""
        return self._json("GET", f"/experiments/{path_part(run_id)}/report")

    def replay(self, run_id: str, idempotency_key: str) -> Json:
        """Queue the repetition of a finished run; the answer is that of a submission."""
        path = f"/experiments/{path_part(run_id)}/replay"
        return self._json("POST", path, headers={"Idempotency-Key": idempotency_key})

    def load_evaluation_rows(
        self,
        run_id: str,
        wanted: Json,
        offset: int,
        limit: int,
        *,
        text: str = "",
        sort_by: str | None = None,
        desc: bool = False,
    ) -> Json:
        """Return the `total` and `rows` of the evaluation that a filter keeps and that contain a text, in an order."""
        order: Json = {"desc": desc, **({"sort_by": sort_by} if sort_by else {})}
        params: Json = {
            "filter": json.dumps(wanted, ensure_ascii=False),
            "text": text,
            "offset": offset,
            "limit": limit,
        }
        return self._json(
            "GET", f"/experiments/{path_part(run_id)}/rows", params=params | order, timeout=SLOW_READ_SECONDS
        )

    def load_slices(self, run_id: str) -> Json:
        """Return how good the answers are on parts of the evaluation: `measure`, `sortable`, `tables` (blocks)."""
        return self._json("GET", f"/experiments/{path_part(run_id)}/slices", timeout=SLOW_READ_SECONDS)

    def delete_experiment(self, run_id: str) -> None:
        """Delete a run and its files."""
        self._ask("DELETE", f"/experiments/{path_part(run_id)}")

    def compare(self, run_ids: Sequence[str]) -> Json:
        """Compare two to eight runs."""
        return self._json("GET", "/experiments/compare", params={"ids": ",".join(run_ids)}, timeout=SLOW_READ_SECONDS)

    # -- models

    def predict(self, run_id: str, texts: Sequence[str], text_pairs: Sequence[str] | None = None) -> Iterator[Json]:
        """Yield one answer a text from the model of a finished run, piece by piece."""
        for start in range(0, len(texts), TEXTS_A_REQUEST):
            end = start + TEXTS_A_REQUEST
            body = {
                "texts": list(texts[start:end]),
                "text_pairs": None if text_pairs is None else list(text_pairs[start:end]),
            }
            path = f"/experiments/{path_part(run_id)}/predict"
            yield from self._json("POST", path, json=body, timeout=SLOW_READ_SECONDS)["answers"]

    def stream_answer(self, run_id: str, question: Json) -> Generator[Json]:
        """Yield the pieces (`text`) of an answer to a conversation, and at last the whole `answer`.

        Who closes the generator ends the answer.
        """
        path, body = f"/experiments/{path_part(run_id)}/chat", {**question, "stream": True}
        try:
            with self._http.stream("POST", path, json=body, timeout=SLOW_READ_SECONDS) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _refusal(answer)
                for kind, data in read_events(answer.iter_lines()):
                    if kind == "error":
                        raise ApiError(answer.status_code, data["error"], data["message"], data["remedy"])
                    yield data
        except httpx.TransportError as error:
            raise ApiUnreachableError(str(error) or type(error).__name__) from error

    def read_questions(self, run_id: str, filename: str, content: bytes, reading: Json | None = None) -> Json:
        """Return the rows of a file as questions to a run's model, and how they were read.

        `reading`: encoding, sheet, text_column, text_pair_column and limit, where they are not left to the API.
        """
        return self._send_file(
            "/datasets/questions", {"experiment_id": run_id, "name": filename, **(reading or {})}, content
        )

    # -- data

    def upload(self, filename: str, content: bytes, reading: Json | None = None) -> Json:
        """Store a data file, read with `encoding` and `sheet` of `reading`.

        Returns the `dataset_name` by which a configuration calls it.
        """
        return self._send_file("/datasets/files", {"name": filename, **(reading or {})}, content)

    def preview(self, body: Json) -> Json:
        """Return first rows, columns, label counts, findings and ledger of what a request would train on."""
        return self._json("POST", "/datasets/preview", json=body, timeout=SLOW_READ_SECONDS)

    def view_tokens(self, body: Json, row: str | None) -> Json:
        """Return one row (`origin`) of what a request would train on, in `pieces` by kind of token."""
        return self._json("POST", "/datasets/tokens", json={**body, "row": row}, timeout=SLOW_READ_SECONDS)

    def propose(self, body: Json) -> Json:
        """Return what the data of a request are, and the `settings` (dotted keys) and `models` that suit them."""
        return self._json("POST", "/datasets/proposal", json=body, timeout=SLOW_READ_SECONDS)

    def create_version(self, body: Json, note: str = "") -> Json:
        """Store all rows of what a request would train on as a version; returns its `digest`."""
        return self._json("POST", "/datasets", json={**body, "note": note}, timeout=SLOW_READ_SECONDS)

    def load_versions(self) -> list[Json]:
        """Return all dataset versions, newest first."""
        return _listed(self._json("GET", "/datasets"), "versions")

    def load_dataset(self, name: str) -> Json:
        """Return one dataset version."""
        return self._json("GET", f"/datasets/{path_part(name)}")

    def load_rows(self, name: str, split: str, offset: int, limit: int) -> Json:
        """Return rows of a version."""
        params = {"split": split, "offset": offset, "limit": limit}
        return self._json("GET", f"/datasets/{path_part(name)}/rows", params=params)

    def compare_datasets(self, first: str, second: str) -> Json:
        """Return what the second version has and the first has not, and the other way round."""
        return self._json("GET", "/datasets/diff", params={"a": first, "b": second}, timeout=SLOW_READ_SECONDS)

    def tag_dataset(self, name: str, tag: str, *, move: bool = False) -> Json:
        """Give a version a name that people remember; `move` takes it from the version that has it."""
        return self._json("POST", f"/datasets/{path_part(name)}/tags", json={"tag": tag, "move": move})

    def untag_dataset(self, name: str, tag: str) -> Json:
        """Take a tag from a version."""
        return self._json("DELETE", f"/datasets/{path_part(name)}/tags/{path_part(tag)}")

    def load_dataset_report(self, name: str) -> Json:
        """Return analysis, findings and quarantine of a version."""
        return self._json("GET", f"/datasets/{path_part(name)}/report", timeout=SLOW_READ_SECONDS)

    def load_quarantine(self, run_id: str, limit: int = 1000) -> Json:
        """Return the `total` and the first `rows` that a run was not trained on."""
        return self._json("GET", f"/experiments/{path_part(run_id)}/quarantine", params={"limit": limit})

    def search_suspects(self, run_id: str, folds: int | None = None) -> Json:
        """Begin to search the training rows of a run for suspect labels; `folds` models judge, else the run's own."""
        return self._json("POST", f"/experiments/{path_part(run_id)}/suspects", json={"folds": folds})

    def load_suspects(self, run_id: str, offset: int = 0, limit: int = 100, *, everything: bool = False) -> Json:
        """Return the `state` of the search, and the suspect (or all) rows, `ranking`, once it is ready."""
        params = {"offset": offset, "limit": limit, "everything": everything}
        return self._json("GET", f"/experiments/{path_part(run_id)}/suspects", params=params)

    def relabel(self, name: str, changes: Sequence[Json], note: str) -> Json:
        """Make a new version with other labels."""
        body = {"changes": list(changes), "note": note}
        return self._json("POST", f"/datasets/{path_part(name)}/labels", json=body, timeout=SLOW_READ_SECONDS)

    # -- one request

    def _send_file(self, path: str, params: Json, content: bytes) -> Json:
        given = {key: value for key, value in params.items() if value}
        headers = {"Content-Type": "application/octet-stream"}
        return self._json("POST", path, params=given, content=content, headers=headers, timeout=SLOW_READ_SECONDS)

    def _json(self, method: str, path: str, **options: Any) -> Json:
        answer = self._ask(method, path, **options)
        try:
            body = answer.json()
        except ValueError as error:
            raise ApiError(answer.status_code, "bad_answer", f"{path} did not answer with JSON") from error
        return body if isinstance(body, dict) else {"items": body}

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise ApiUnreachableError(str(error) or type(error).__name__) from error
        if answer.is_success:
            return answer
        raise _refusal(answer)


def _refusal(answer: httpx.Response) -> ApiError:
    try:
        body = answer.json()
    except ValueError:
        body = None
    if not isinstance(body, dict) or "message" not in body:
        return ApiError(answer.status_code, f"http_{answer.status_code}", f"HTTP {answer.status_code}")
    details = body.get("details")
    return ApiError(
        answer.status_code,
        str(body.get("error", "")),
        str(body["message"]),
        str(body.get("remedy") or ""),
        details if isinstance(details, dict) else None,
    )


def _listed(body: Json, *names: str) -> list[Json]:
    for name in (*names, "items"):
        if isinstance(body.get(name), list):
            return list(body[name])
    return []
