"""Dataset versions and files over HTTP."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

ROWS = b"text,label\na fine film,1\na dull film,0\n"
BINARY = {"Content-Type": "application/octet-stream"}


def make_version(note, labels):
    from finetune30.data.versions.storage import VersionStore

    frame = pl.DataFrame(
        {
            "text": ["a fine film", "a dull film"],
            "text_pair": [None, None],
            "label": labels,
            "origin": ["x.csv:2", "x.csv:3"],
        },
        schema=dict.fromkeys(("text", "text_pair", "label", "origin"), pl.String),
    )
    manifest, _ = VersionStore(Path("data_store")).create(
        {"train": frame},
        targets={"label_names": ["0", "1"]},
        problem_type="single_label_classification",
        source={"name": "x.csv"},
        note=note,
    )
    return manifest.digest


def test_versions_are_listed_shown_and_compared(api):
    assert api.get("/datasets").json() == {"versions": []}
    before, after = make_version("first", ["1", "0"]), make_version("second", ["1", "1"])
    assert {version["note"] for version in api.get("/datasets").json()["versions"]} == {"first", "second"}
    shown = api.get(f"/datasets/{before[:8]}").json()
    assert (shown["digest"], shown["rows"], shown["runs"]) == (before, {"train": 2}, [])
    diff = api.get("/datasets/diff", params={"a": before, "b": after}).json()
    assert diff["counts"]["relabelled"] == 1
    assert diff["rows"][0]["label_before"] == "0"
    assert api.get("/datasets/nothing").status_code == 404


def test_sent_file_is_kept_once_and_can_be_trained_on(api):
    sent = api.post("/datasets/files?name=my%20rows.csv", content=ROWS, headers=BINARY)
    assert sent.status_code == 201, sent.text
    kept = sent.json()
    assert (kept["columns"], kept["rows"], kept["size"]) == (["text", "label"], 2, len(ROWS))
    assert Path(kept["dataset_name"]).read_bytes() == ROWS
    assert api.post("/datasets/files?name=my%20rows.csv", content=ROWS, headers=BINARY).json() == kept
    assert api.post("/train", json={"dataset": kept["dataset_name"]}).status_code == 202
    assert len([path for path in Path("data_store/uploads").rglob("*") if path.is_file()]) == 1


def test_sent_file_is_read_as_the_request_says(api):
    content = "text,label\ncafé,1\nthé,0\n".encode("latin-1")
    refused = api.post("/datasets/files?name=menu.csv", content=content, headers=BINARY)
    assert refused.status_code == 422
    assert "set data.encoding to cp1252" in refused.json()["remedy"]
    sent = api.post("/datasets/files?name=menu.csv&encoding=cp1252", content=content, headers=BINARY)
    assert (sent.status_code, sent.json()["rows"]) == (201, 2)
    unknown = api.post("/datasets/files?name=menu.csv&encoding=cp12", content=content, headers=BINARY)
    assert unknown.status_code == 400


@pytest.mark.parametrize(
    ("name", "content", "status"),
    [
        ("x.exe", ROWS, 400),
        ("..%2fx.csv", ROWS, 400),
        (".x.csv", ROWS, 400),
        ("x.csv", b"", 422),
        ("x.csv", b"PK\x03\x04zip", 422),
        ("x.parquet", b"no parquet", 422),
        ("x.json", b"[{]", 422),
    ],
)
def test_files_that_are_no_data_are_refused_and_leave_nothing(api, name, content, status):
    answer = api.post(f"/datasets/files?name={name}", content=content, headers=BINARY)
    assert answer.status_code == status, answer.text
    assert "remedy" in answer.json()
    assert [path for path in Path("data_store").rglob("*") if path.is_file()] == []


def test_files_beyond_the_limit_are_refused_and_leave_nothing(start):
    api = start(max_upload_bytes=1024)
    for content in (b"x" * 2000, iter([b"x" * 800, b"x" * 800])):
        answer = api.post("/datasets/files?name=x.csv", content=content, headers=BINARY)
        assert (answer.status_code, answer.json()["error"]) == (413, "too_large")
    assert [path for path in Path("data_store").rglob("*") if path.is_file()] == []
    assert api.post("/datasets/files?name=x.csv", content=ROWS, headers={"Content-Type": "text/csv"}).status_code == 415
