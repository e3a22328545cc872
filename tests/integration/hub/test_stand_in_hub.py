"""The stand-in for the hub, driven by the real client: what it answers when nothing is wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import pytest

from support.hub_client import Running
from support.stand_in_hub import TOKEN, TOKEN_WITHOUT_ACCESS, Repository, StandInHub

pytestmark = pytest.mark.integration

DISTILBERT = "distilbert/distilbert-base-uncased"
SNAPSHOT = f"snapshot_download('{DISTILBERT}', allow_patterns=['config.json', '*.safetensors'], cache_dir=cache)"
WEIGHTS = f"hf_hub_download('{DISTILBERT}', 'model.safetensors', cache_dir=cache)"
INFO = f"HfApi().model_info('{DISTILBERT}').sha"


def test_snapshot_by_alias_holds_all_files_and_fetches_each_content_once(running: Running) -> None:
    outcome = running.run("snapshot_download('distilbert-base-uncased', cache_dir=cache)")
    files = running.hub.files("models", DISTILBERT)
    for file in files:
        assert (Path(outcome.value) / file).read_bytes() == running.hub.content("models", DISTILBERT, file)
    assert Path(outcome.value).name == running.hub.sha("models", DISTILBERT)
    contents = [file for method, file, status in running.asked("resolve") if (method, status) == ("GET", 200)]
    contents += [file for _, file, _ in running.asked("cdn")]
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
