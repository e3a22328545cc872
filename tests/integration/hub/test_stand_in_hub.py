"""The stand-in for the hub, driven by the real clients: it must answer as they expect, faults included."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from support.hub_client import HubClient
from support.services import free_port
from support.stand_in_hub import (
    TOKEN,
    TOKEN_WITHOUT_ACCESS,
    CaptivePage,
    Compressed,
    CutBody,
    Delay,
    Fault,
    HangUp,
    Repository,
    StandInHub,
    Trickle,
    WrongContent,
    WrongLength,
    entry_missing,
    forbidden,
    link_folder,
    repository_missing,
    revision_missing,
    server_error,
    too_many_requests,
    unauthorized,
)

pytestmark = pytest.mark.integration

DISTILBERT = "distilbert/distilbert-base-uncased"
SNAPSHOT = f"snapshot_download('{DISTILBERT}', allow_patterns=['config.json', '*.safetensors'], cache_dir=cache)"
CONFIG = f"hf_hub_download('{DISTILBERT}', 'config.json', cache_dir=cache)"
WEIGHTS = f"hf_hub_download('{DISTILBERT}', 'model.safetensors', cache_dir=cache)"
INFO = f"HfApi().model_info('{DISTILBERT}').sha"
#: What the client waits before each of its five further tries.
BACKOFF = [1, 2, 4, 8, 8]


class Running(NamedTuple):
    """A hub that serves for this whole module, and a client that uses it."""

    hub: StandInHub
    client: HubClient
    cache: str

    def run(self, expression: str, **names: Any) -> Any:
        return self.client.run(expression, cache=self.cache, **names)


@pytest.fixture(scope="module")
def served(hub_contents: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StandInHub, HubClient]]:
    folder = tmp_path_factory.mktemp("served")
    with StandInHub(link_folder(hub_contents, folder / "hub")) as hub:
        client = HubClient(hub.environment(folder / "home"))
        yield hub, client
        client.close()


@pytest.fixture
def running(served: tuple[StandInHub, HubClient], tmp_path: Path) -> Running:
    hub, client = served
    hub.mend()
    hub.forget_requests()
    return Running(hub, client, str(tmp_path / "cache"))


def asked(hub: StandInHub, action: str) -> list[tuple[str, str, int]]:
    """Method, file and status of the requests of one kind."""
    return [(request.method, request.file, request.status) for request in hub.requests if request.action == action]


# --- what a hub does


def test_snapshot_by_alias_holds_all_files_and_fetches_each_content_once(running: Running) -> None:
    outcome = running.run("snapshot_download('distilbert-base-uncased', cache_dir=cache)")
    files = running.hub.files("models", DISTILBERT)
    for file in files:
        assert (Path(outcome.value) / file).read_bytes() == running.hub.content("models", DISTILBERT, file)
    assert Path(outcome.value).name == running.hub.sha("models", DISTILBERT)
    contents = [file for method, file, status in asked(running.hub, "resolve") if (method, status) == ("GET", 200)]
    contents += [file for _, file, _ in asked(running.hub, "cdn")]
    # What two files hold alike comes once.
    assert len(contents) == len({running.hub.content("models", DISTILBERT, file) for file in files})
    assert set(contents) <= set(files)
    assert {request.status for request in running.hub.requests if request.repo == "distilbert-base-uncased"} == {307}


def test_snapshot_with_patterns_asks_for_matching_files_only(running: Running) -> None:
    assert not running.run(SNAPSHOT).error
    wanted = {"config.json", "model.safetensors", "model.fp16.safetensors"}
    assert {request.file for request in running.hub.requests if request.file} == wanted
    assert {request.kind for request in running.hub.requests if request.repo} == {"models"}


def test_checksums_of_a_snapshot_agree_with_the_listing(running: Running) -> None:
    outcome = running.run(
        "(snapshot_download(repo, cache_dir=cache), vars(HfApi().verify_repo_checksums(repo, cache_dir=cache)))",
        repo=DISTILBERT,
    )
    verified = outcome.value[1]
    assert (verified["mismatches"], verified["missing_paths"], verified["extra_paths"]) == ([], [], [])
    assert verified["checked_count"] == len(running.hub.files("models", DISTILBERT))


def test_information_names_commit_files_and_card(running: Running) -> None:
    told = running.run("vars(HfApi().model_info('roberta-base', files_metadata=True))").value
    assert (told["id"], told["gated"], told["private"]) == ("FacebookAI/roberta-base", False, False)
    assert told["sha"] == running.hub.sha("models", "roberta-base")
    assert told["config"] == {"architectures": ["RobertaForMaskedLM"], "model_type": "roberta"}
    told = running.run("HfApi().dataset_info('glue').id, HfApi().dataset_info('glue').card_data.to_dict()").value
    assert told[0] == "nyu-mll/glue"
    assert [config["config_name"] for config in told[1]["configs"]] == ["ax", "sst2", "stsb"]


def test_revisions_resolve_by_branch_tag_pull_request_and_commit(running: Running) -> None:
    hub = running.hub
    hub.add(
        Repository(
            "models",
            "team/revisions",
            {"a.txt": b"first"},
            tags=("v1.0",),
            branches={"dev": {"a.txt": b"dev"}, "feature/x": {"b.txt": b"x"}, "refs/pr/1": {"a.txt": None}},
        )
    )
    first = hub.sha("models", "team/revisions")
    second = hub.commit("models", "team/revisions", {"a.txt": b"second"}, "Second")
    for revision, sha, files in (
        ("main", second, ["a.txt"]),
        (first, first, ["a.txt"]),
        ("v1.0", first, ["a.txt"]),
        ("dev", hub.sha("models", "team/revisions", "dev"), ["a.txt"]),
        ("feature/x", hub.sha("models", "team/revisions", "feature/x"), ["a.txt", "b.txt"]),
        ("refs/pr/1", hub.sha("models", "team/revisions", "refs/pr/1"), []),
    ):
        expression = "(HfApi().model_info(repo, revision=r).sha, HfApi().list_repo_files(repo, revision=r))"
        assert running.run(expression, repo="team/revisions", r=revision).value == [sha, files], revision
    for revision, content in (("main", "second"), ("v1.0", "first"), (first, "first"), ("dev", "dev")):
        read = running.run("open(hf_hub_download(repo, 'a.txt', revision=r, cache_dir=cache)).read()",
                           repo="team/revisions", r=revision)  # fmt: skip
        assert read.value == content
    refs = running.run("vars(HfApi().list_repo_refs('team/revisions', include_pull_requests=True))").value
    assert {name: len(listed) for name, listed in refs.items()} == {
        "branches": 3, "converts": 0, "tags": 1, "pull_requests": 1,
    }  # fmt: skip


def test_listing_comes_in_pages_with_hashes_as_git_has_them(tmp_path: Path, running: Running) -> None:
    files = {f"folder/deep/{number}.txt": bytes([number]) for number in range(7)} | {"w.safetensors": b"weights"}
    with StandInHub(tmp_path / "pages", page_entries=3) as hub:
        hub.add(Repository("datasets", "team/pages", files))
        listing = "[vars(e) for e in HfApi(endpoint=E).list_repo_tree('team/pages', {}, repo_type='dataset')]"
        whole = running.run(listing.format("recursive=True, expand=True"), E=hub.endpoint).value
        pages = [request for request in hub.requests if request.action == "tree"]
        top = running.run(listing.format("recursive=False"), E=hub.endpoint).value
        below = running.run(listing.format("path_in_repo='folder/deep'"), E=hub.endpoint).value
        missing = running.run(listing.format("path_in_repo='nothing'"), E=hub.endpoint)
    assert len(whole) == 10
    assert len(pages) == 4
    by_path = {entry["path"]: entry for entry in whole}
    assert by_path["folder/deep/3.txt"]["blob_id"] == hashlib.sha1(b"blob 1\0\x03", usedforsecurity=False).hexdigest()
    assert by_path["w.safetensors"]["lfs"]["sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert [entry["path"] for entry in top] == ["folder", "w.safetensors"]
    assert [entry["path"] for entry in below] == [f"folder/deep/{number}.txt" for number in range(7)]
    assert missing.error == "RemoteEntryNotFoundError"


def test_paths_info_tells_files_and_folders_and_leaves_out_what_is_missing(running: Running) -> None:
    expression = "[e.path for e in HfApi().get_paths_info('glue', ['sst2', 'README.md', 'x'], repo_type='dataset')]"
    assert running.run(expression).value == ["sst2", "README.md"]


def test_ranges_are_answered_as_asked(hub: StandInHub) -> None:
    address = f"{hub.endpoint}/{DISTILBERT}/resolve/main/vocab.txt"
    content = hub.content("models", DISTILBERT, "vocab.txt")
    size = len(content)
    for asked_for, start, end in (
        ("2-5", 2, 5),
        ("10-", 10, size - 1),
        ("-4", size - 4, size - 1),
        ("0-999999", 0, size - 1),
    ):
        answer = httpx.get(address, headers={"Range": f"bytes={asked_for}"})
        assert (answer.status_code, answer.content) == (206, content[start : end + 1])
        assert answer.headers["Content-Range"] == f"bytes {start}-{end}/{size}"
    beyond = httpx.get(address, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{size}")


def test_large_files_come_from_another_origin_without_the_token(running: Running) -> None:
    head = httpx.head(f"{running.hub.endpoint}/{DISTILBERT}/resolve/main/model.safetensors")
    content = running.hub.content("models", DISTILBERT, "model.safetensors")
    assert head.status_code == 302
    assert head.headers["X-Linked-ETag"].strip('"') == hashlib.sha256(content).hexdigest()
    assert head.headers["X-Linked-Size"] == str(len(content))
    assert head.headers["Location"].startswith(running.hub.cdn_endpoint)
    running.hub.forget_requests()
    assert not running.run(WEIGHTS.replace("cache_dir", "token=token, cache_dir"), token=TOKEN).error
    seen = [(request.method, request.action, request.authorization) for request in running.hub.requests]
    assert seen == [("HEAD", "resolve", True), ("GET", "cdn", False)]


def test_access_depends_on_the_token(running: Running) -> None:
    model = "hf_hub_download('stand-in/{}-model', 'config.json', token=token, cache_dir=cache)[:1]"
    rows = "HfApi(token=token).dataset_info('stand-in/{}-rows').id"
    for expression, token, expected in (
        (model.format("private"), False, "RepositoryNotFoundError"),
        (model.format("private"), TOKEN_WITHOUT_ACCESS, "RepositoryNotFoundError"),
        (model.format("private"), TOKEN, "/"),
        (model.format("gated"), False, "GatedRepoError"),
        (model.format("gated"), TOKEN_WITHOUT_ACCESS, "GatedRepoError"),
        (model.format("gated"), TOKEN, "/"),
        (model.format("missing"), False, "RepositoryNotFoundError"),
        (model.format("missing"), TOKEN, "RepositoryNotFoundError"),
        (model.format("disabled"), TOKEN, "LocalEntryNotFoundError"),
        (model.format("empty"), False, "RemoteEntryNotFoundError"),
        (rows.format("private"), False, "RepositoryNotFoundError"),
        (rows.format("private"), TOKEN, "stand-in/private-rows"),
        (rows.format("gated"), False, "stand-in/gated-rows"),
        (rows.format("disabled"), False, "DisabledRepoError"),
        (INFO, "hf_unknown", "HfHubHTTPError"),
        ("HfApi().model_info('stand-in/csv-files').id", False, "RepositoryNotFoundError"),
        ("HfApi().model_info('roberta-base', revision='v9').id", False, "RevisionNotFoundError"),
        ("HfApi(token=token).whoami()['name']", TOKEN, "somebody"),
    ):
        outcome = running.run(expression.replace("HfApi()", "HfApi(token=token)"), token=token)
        assert (outcome.error or outcome.value) == expected, (expression, token, outcome)


# --- faults


@pytest.mark.parametrize(
    ("fault", "expression", "error", "message", "waits"),
    [
        (unauthorized(), INFO, "HfHubHTTPError", "Invalid credentials in Authorization header", []),
        (unauthorized(), SNAPSHOT, "HfHubHTTPError", "Invalid credentials in Authorization header", []),
        (forbidden(), INFO, "HfHubHTTPError", "403 Forbidden", []),
        (forbidden(), SNAPSHOT, "LocalEntryNotFoundError", "403 Forbidden", []),
        (repository_missing(), SNAPSHOT, "RepositoryNotFoundError", "404 Client Error", []),
        (revision_missing(), SNAPSHOT, "RevisionNotFoundError", "Invalid rev id: main", []),
        (entry_missing(), CONFIG, "RemoteEntryNotFoundError", "Entry Not Found", []),
        (too_many_requests(7), INFO, "HfHubHTTPError", "your 'api' rate limit.\nRetry after 7 seconds (0/500", []),
        (too_many_requests(7), CONFIG, "LocalEntryNotFoundError", "", [8.0] * 5),
        (too_many_requests(3, hub_headers=False), CONFIG, "LocalEntryNotFoundError", "", [4.0] * 5),
        (too_many_requests(hub_headers=False, retry_after=False), CONFIG, "LocalEntryNotFoundError", "", BACKOFF),
        (server_error(500), CONFIG, "LocalEntryNotFoundError", "", BACKOFF),
        (server_error(502), INFO, "HfHubHTTPError", "502 Bad Gateway", []),
        (server_error(503), SNAPSHOT, "LocalEntryNotFoundError", "503 Service Unavailable", []),
        (HangUp(), INFO, "RemoteProtocolError", "Server disconnected without sending a response", []),
        (HangUp(), CONFIG, "RemoteProtocolError", "Server disconnected without sending a response", []),
        (CutBody(), INFO, "RemoteProtocolError", "peer closed connection without sending complete", []),
        (CutBody(), WEIGHTS, "RemoteProtocolError", "peer closed connection without sending complete", [1] * 5),
        (WrongLength(5), WEIGHTS, "RemoteProtocolError", "peer closed connection without sending complete", [1] * 5),
        (WrongLength(-5), CONFIG, "OSError", "Consistency check failed", []),
        (WrongLength(-5), WEIGHTS, "OSError", "Consistency check failed", []),
        (CaptivePage(), INFO, "JSONDecodeError", "Expecting value", []),
        (CaptivePage(redirects=True), INFO, "JSONDecodeError", "Expecting value", []),
        (CaptivePage(), CONFIG, "LocalEntryNotFoundError", "missing the 'X-Repo-Commit' header", []),
        (CaptivePage(redirects=True), CONFIG, "LocalEntryNotFoundError", "missing the 'X-Repo-Commit' header", []),
    ],
)  # fmt: skip
def test_fault_reaches_the_client_until_it_is_mended(
    running: Running, fault: Fault, expression: str, error: str, message: str, waits: list[float]
) -> None:
    running.hub.fail(fault)
    outcome = running.run(expression)
    assert (outcome.error, outcome.waits) == (error, waits), outcome
    assert message in outcome.message
    running.hub.mend()
    assert not running.run(expression).error


def test_fault_counts_only_the_requests_that_it_is_for(running: Running) -> None:
    running.hub.fail(server_error(503), repo=DISTILBERT, file="config.json", times=2)
    assert running.run("HfApi().model_info('roberta-base').id").value == "FacebookAI/roberta-base"
    outcome = running.run(CONFIG.replace(DISTILBERT, "distilbert-base-uncased"))
    assert not outcome.error
    assert outcome.waits == [1]
    assert [status for _, _, status in asked(running.hub, "resolve")] == [503, 503, 307, 200, 200]


def test_cut_body_is_resumed_by_a_range_where_the_client_kept_a_part(running: Running) -> None:
    content = os.urandom(1024) * 13_000
    running.hub.add(Repository("models", "team/large", {"model.safetensors": content}))
    running.hub.fail(CutBody(after_bytes=11_000_000), action="cdn", times=1)
    outcome = running.run("hf_hub_download('team/large', 'model.safetensors', cache_dir=cache)")
    assert Path(outcome.value).read_bytes() == content
    # Ten MiB a piece: what came of the second piece was thrown away.
    assert [request.range for request in running.hub.requests if request.action == "cdn"] == [None, "bytes=10485760-"]
    running.hub.forget_requests()
    running.hub.fail(CutBody(share=0.9), file="config.json", times=1)
    assert running.run(CONFIG).waits == [1]
    assert [request.range for request in running.hub.requests if request.method == "GET"] == [None, None]


def test_wrong_content_of_the_right_length_goes_unnoticed_by_the_client(running: Running) -> None:
    running.hub.fail(WrongContent(), file="model.safetensors")
    outcome = running.run(WEIGHTS)
    stored, right = Path(outcome.value).read_bytes(), running.hub.content("models", DISTILBERT, "model.safetensors")
    assert len(stored) == len(right)
    assert stored != right
    assert Path(outcome.value).resolve().name == hashlib.sha256(right).hexdigest()


def test_compressed_content_tells_no_length_and_arrives_whole(running: Running) -> None:
    running.hub.fail(Compressed(), file="vocab.txt")
    address = f"{running.hub.endpoint}/{DISTILBERT}/resolve/main/vocab.txt"
    content = running.hub.content("models", DISTILBERT, "vocab.txt")
    answer = httpx.get(address)
    assert (answer.content, answer.headers["Content-Encoding"]) == (content, "gzip")
    assert "Content-Length" not in answer.headers
    assert Path(running.run(CONFIG.replace("config.json", "vocab.txt")).value).read_bytes() == content


def test_slow_answers_come_late_and_in_pieces(hub: StandInHub) -> None:
    address = f"{hub.endpoint}/{DISTILBERT}/resolve/main/vocab.txt"
    hub.fail(Delay(600), times=1)
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(address, timeout=0.5)
    hub.fail(Delay(0.2), times=1)
    answer = httpx.get(address)
    assert (answer.status_code, answer.elapsed.total_seconds() >= 0.2) == (200, True)
    hub.fail(Trickle(part_bytes=100, pause_seconds=0.01), times=1)
    with httpx.stream("GET", address) as answer:
        parts = list(answer.iter_raw())
    assert b"".join(parts) == hub.content("models", DISTILBERT, "vocab.txt")
    assert len(parts) > 1


def test_stopped_hub_refuses_and_serves_again_on_the_same_port(hub: StandInHub) -> None:
    address = f"{hub.endpoint}/api/models/roberta-base"
    with httpx.Client(follow_redirects=True) as client:
        assert client.get(address).status_code == 200
        hub.stop()
        for _ in range(2):
            with pytest.raises(httpx.TransportError):
                client.get(address)
        hub.start()
        assert client.get(address).status_code == 200


# --- libraries on top

LOAD_SETS = """
import json
from datasets import load_dataset
for name in json.loads({names!r}):
    loaded = load_dataset(*name)
    shown = {{split: rows.num_rows for split, rows in loaded.items()}}
    first = next(iter(loaded.values()))
    print(json.dumps([name, shown, {{column: str(type) for column, type in first.features.items()}}, first[0]]))
for name in ("stand-in/script-only", "stand-in/empty", "stand-in/gated-rows", "stand-in/private-rows"):
    try:
        load_dataset(name)
    except Exception as error:
        print(json.dumps([name, type(error).__name__]))
"""


def test_data_sets_load_by_name(hub: StandInHub, tmp_path: Path) -> None:
    expected: dict[tuple[str, ...], tuple[dict[str, int], set[str]]] = {
        ("nyu-mll/glue", "sst2"): ({"train": 400, "validation": 80, "test": 40}, {"sentence", "label", "idx"}),
        ("nyu-mll/glue", "stsb"): (
            {"train": 120, "validation": 45, "test": 30}, {"sentence1", "sentence2", "label", "idx"},
        ),
        ("nyu-mll/glue", "ax"): ({"test": 30}, {"premise", "hypothesis", "label", "idx"}),
        ("stanfordnlp/imdb",): ({"train": 200, "test": 100, "unsupervised": 50}, {"text", "label"}),
        ("google-research-datasets/go_emotions",): (
            {"train": 280, "validation": 56, "test": 56}, {"text", "labels", "id"},
        ),
        ("lansinuote/ChnSentiCorp",): ({"train": 300, "validation": 60, "test": 60}, {"text", "label"}),
        ("stand-in/csv-files",): ({"train": 120, "test": 40}, {"text", "label"}),
        ("stand-in/json-lines",): ({"train": 120, "validation": 40}, {"text", "label"}),
        ("stand-in/many-parquet-files",): ({"train": 180, "test": 40}, {"text", "label"}),
        ("stand-in/two-configurations",): ({"train": 100, "test": 30}, {"text", "label"}),
        ("stand-in/two-configurations", "tabs"): ({"train": 100, "test": 30}, {"text", "label"}),
    }  # fmt: skip
    *loaded, script, empty, gated, private = run_python(
        LOAD_SETS.format(names=json.dumps(list(expected))), hub.environment(tmp_path / "home")
    )
    assert {tuple(name): (splits, set(columns)) for name, splits, columns, _ in loaded} == expected
    told = {tuple(name): (columns, row) for name, _, columns, row in loaded}
    assert told["nyu-mll/glue", "sst2"][0]["label"] == "ClassLabel(names=['negative', 'positive'])"
    assert told["nyu-mll/glue", "ax"][1]["label"] == -1
    assert told["google-research-datasets/go_emotions",][1]["labels"] == [0, 20]
    assert script == ["stand-in/script-only", "RuntimeError"]
    assert empty == ["stand-in/empty", "EmptyDatasetError"]
    assert [gated[1], private[1]] == ["DatasetNotFoundError"] * 2


LOAD_MODELS = """
import json
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoTokenizer
for name in ("distilbert-base-uncased", "roberta-base", "bert-base-chinese", "google-bert/bert-base-uncased"):
    model, found = AutoModelForMaskedLM.from_pretrained(name, output_loading_info=True)
    tokenizer = AutoTokenizer.from_pretrained(name)
    text = "酒店房间很好" if "chinese" in name else "the film was very good"
    unknown = tokenizer(text)["input_ids"].count(tokenizer.unk_token_id)
    print(json.dumps([type(model).__name__, sorted(found["missing_keys"]), unknown, len(tokenizer(text)["input_ids"])]))
for name in ("stand-in/sharded-weights", "stand-in/pickled-weights", "stand-in/nested-folders"):
    print(json.dumps(AutoModel.from_pretrained(name).num_parameters()))
print(json.dumps(bool(AutoTokenizer.from_pretrained("stand-in/chat-model").chat_template)))
try:
    AutoConfig.from_pretrained("stand-in/remote-code", trust_remote_code=False)
except Exception as error:
    print(json.dumps(str(error)))
"""


def test_models_load_by_name(hub: StandInHub, tmp_path: Path) -> None:
    environment = hub.environment(tmp_path / "home", DISABLE_SAFETENSORS_CONVERSION="1")
    *families, sharded, pickled, nested, has_template, remote = run_python(LOAD_MODELS, environment)
    assert [family[0] for family in families] == [
        "DistilBertForMaskedLM", "RobertaForMaskedLM", "BertForMaskedLM", "BertForMaskedLM",
    ]  # fmt: skip
    assert all(missing == [] and unknown == 0 for _, missing, unknown, _ in families)
    assert families[2][3] == len("酒店房间很好") + 2
    assert sharded == pickled == nested
    assert has_template
    assert "trust_remote_code=True" in remote


def test_hub_runs_as_a_process_of_its_own(hub_contents: Path, tmp_path: Path) -> None:
    folder = link_folder(hub_contents, tmp_path / "own")
    port = free_port()
    tests = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-m", "support.stand_in_hub", "--port", str(port), "--folder", str(folder)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(tests)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == f"HF_ENDPOINT=http://127.0.0.1:{port}\n"
        answer = httpx.get(f"http://127.0.0.1:{port}/api/datasets/glue", follow_redirects=True)
        assert answer.json()["id"] == "nyu-mll/glue"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == 0


def run_python(code: str, environment: dict[str, str]) -> list[Any]:
    """Run code in a process of its own; return its lines of JSON."""
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]
