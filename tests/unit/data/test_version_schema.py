"""Versions of any columns: conversations, lists, numbers and nested values, kept, named, compared and relabelled."""

from __future__ import annotations

import csv
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune30.data.versions.checkout import checkout_version
from finetune30.data.versions.compare import diff_versions
from finetune30.data.versions.manifest import Manifest
from finetune30.data.versions.schema import FIRST_SCHEMA, Role, Schema, load_schema, schema_of
from finetune30.data.versions.storage import VersionStore, digest_version
from finetune30.errors import DataError, StorageError, UsageError
from finetune30.service.datasets.relabel import relabel_rows

ROLES: dict[str, Role] = {
    "messages": "text",
    "tags": "target",
    "stars": "target",
    "weight": "target",
    "origin": "origin",
}
DTYPES: dict[str, Any] = {
    "messages": pl.List(pl.Struct({"role": pl.String, "content": pl.String})),
    "tags": pl.List(pl.String),
    "stars": pl.Int64,
    "weight": pl.Float64,
    "origin": pl.String,
}
Row = tuple[Any, Any, int | None, float | None]
HELLO = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "你好"}]
ROWS: list[Row] = [
    (HELLO, ["greeting"], 5, 1.0),
    ([{"role": "user", "content": None}], [], None, -0.5),
    ([], None, -3, None),
    (None, ["a", None], 0, 1e300),
]


def frame_of(rows: list[Row]) -> pl.DataFrame:
    return pl.DataFrame([(*row, f"chats.jsonl:{i}") for i, row in enumerate(rows, 1)], DTYPES, orient="row")


CHAT = schema_of(frame_of(ROWS), ROLES)


def create(store: VersionStore, frame: pl.DataFrame, schema: Schema = CHAT, **more: Any) -> Manifest:
    options: dict[str, Any] = {"problem_type": "causal_lm", "source": {"name": "chats"}, "targets": {"turns": "all"}}
    return store.create({"train": frame}, schema=schema, **{**options, **more})[0]


@pytest.fixture
def store(tmp_path: Path) -> VersionStore:
    return VersionStore(tmp_path / "store")


def test_manifest_says_columns_and_targets_and_is_read_as_it_was_written(store):
    manifest = create(store, frame_of(ROWS))
    tree = json.loads((store.folder / "versions" / f"{manifest.digest}.json").read_text(encoding="utf-8"))
    assert (tree["format"], tree["targets"], tree["label_names"]) == (2, {"turns": "all"}, [])
    assert tree["schema"] == [
        {"name": "messages", "dtype": {"list": {"struct": {"role": "string", "content": "string"}}}, "role": "text"},
        {"name": "tags", "dtype": {"list": "string"}, "role": "target"},
        {"name": "stars", "dtype": "integer", "role": "target"},
        {"name": "weight", "dtype": "float", "role": "target"},
        {"name": "origin", "dtype": "string", "role": "origin"},
    ]
    assert store.get(manifest.digest[:8]) == manifest
    assert load_schema(tree["schema"]) == CHAT


def test_rows_come_back_and_are_verified(store):
    manifest = create(store, frame_of(ROWS))
    assert store.load_rows(manifest, "train").equals(frame_of(ROWS))
    assert store.load_rows(manifest, "evaluation").schema == frame_of(ROWS).schema
    assert store.verify(manifest.digest) == []
    (path,) = store.folder.glob("chunks/*/*.parquet")
    frame_of([*ROWS[:3], (None, ["a", "b"], 0, 1e300)]).write_parquet(path)
    assert "holds other rows" in store.verify(manifest.digest)[0]
    frame_of(ROWS).drop("stars").write_parquet(path)
    assert "missing or cannot be read" in store.verify(manifest.digest)[0]


def test_narrow_numbers_and_fields_in_another_order_are_the_same_version(store):
    frame = frame_of(ROWS)
    turned = pl.List(pl.Struct({"content": pl.String, "role": pl.String}))
    messages = [None if m is None else [{"content": x["content"], "role": x["role"]} for x in m] for m, *_ in ROWS]
    other = frame.with_columns(pl.col("stars").cast(pl.Int8), pl.Series("messages", messages, dtype=turned))
    assert create(store, other) == create(store, frame) == create(store, other, schema_of(other, ROLES))


def test_columns_without_a_single_value_fit_any_dtype(store):
    nothing = pl.DataFrame({"messages": [[], None], "tags": [[], []], "stars": [None] * 2, "weight": [None] * 2})
    frame = nothing.with_columns(origin=pl.lit("a:1"))
    assert frame.schema["messages"] == pl.List(pl.Null)
    manifest = create(store, frame)
    wanted = pl.DataFrame([([], [], None, None, "a:1"), (None, [], None, None, "a:1")], DTYPES, orient="row")
    assert store.load_rows(manifest, "train").equals(wanted)
    assert schema_of(frame, ROLES).columns[0].dtype == pl.List(pl.String)


def test_digest_is_the_sha256_of_the_documented_bytes():
    frame = pl.DataFrame({"text": ["é", None], "tags": [["a", "b"], None], "stars": [7, None]})
    schema = schema_of(frame, {"text": "text", "tags": "target", "stars": "target"})

    def integers(*numbers: int) -> bytes:
        return struct.pack(f"<{len(numbers)}q", *numbers)

    head = '["x"]' + json.dumps(schema.as_tree(), sort_keys=True)
    text = integers(2, -1) + "é".encode()
    tags = integers(2, -1) + integers(1, 1) + b"ab"
    stars = bytes([0b1000_0000]) + integers(7)
    body = b"\n2\n" + text + tags + stars + b"\n0\n"
    assert (
        digest_version({"label_names": ["x"]}, {"train": frame}, schema)
        == hashlib.sha256(head.encode() + body).hexdigest()
    )


texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
messages = st.none() | st.lists(st.fixed_dictionaries({"role": texts, "content": texts}), max_size=3)
rows_of_chats = st.lists(
    st.tuples(
        messages,
        st.none() | st.lists(texts, max_size=3),
        st.none() | st.integers(-(1 << 63), (1 << 63) - 1),
        st.none() | st.floats(allow_nan=False, allow_infinity=False).map(lambda number: number + 0.0),
    ),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(one=rows_of_chats, other=rows_of_chats)
def test_digests_are_alike_just_where_rows_are(one, other, tmp_path_factory):
    first, second = (digest_version({}, {"train": frame_of(rows)}, CHAT) for rows in (one, other))
    assert (first == second) == (one == other)
    store = VersionStore(tmp_path_factory.mktemp("versions"))
    manifest = create(store, frame_of(one))
    assert store.load_rows(manifest, "train").equals(frame_of(one))
    assert store.verify(manifest.digest) == []


def test_other_roles_names_and_targets_are_other_versions(store):
    frame = frame_of(ROWS)
    named = frame.rename({"tags": "tag"})
    roles: dict[str, Role] = {("tag" if name == "tags" else name): role for name, role in ROLES.items()}
    whole = frame.with_columns(stars=pl.col("stars").cast(pl.Float64))
    others = [
        create(store, frame),
        create(store, frame, schema_of(frame, {**ROLES, "tags": "text"})),
        create(store, frame, targets={"turns": "last"}),
        create(store, named, schema_of(named, roles)),
        create(store, whole, schema_of(whole, ROLES)),
    ]
    assert len({manifest.digest for manifest in others}) == 5


def test_differences_are_told_in_the_values_of_the_columns(store):
    before = create(store, frame_of(ROWS))
    changed = [ROWS[0], (ROWS[1][0], ["new"], None, -0.5), ([{"role": "user", "content": "bye"}], None, -3, None)]
    diff = diff_versions(store, before.digest, create(store, frame_of(changed)).digest)
    assert diff.counts() == {"added": 0, "removed": 1, "relabelled": 1, "changed": 1, "unchanged": 1}
    found = {row["kind"]: row for row in diff.as_dict()["rows"]}
    assert (found["relabelled"]["tags_before"], found["relabelled"]["tags"]) == ([], ["new"])
    assert found["relabelled"]["messages_before"] == ROWS[1][0]
    assert (found["changed"]["messages_before"], found["changed"]["messages"]) == ([], changed[2][0])
    assert (found["removed"]["messages"], found["removed"]["stars"], found["removed"]["stars_before"]) == (
        None,
        0,
        None,
    )
    assert [column["name"] for column in diff.as_dict()["columns"]] == list(ROLES)


def test_versions_of_different_columns_are_compared_by_those_they_share(store):
    classic = pl.DataFrame(
        {"text": ["a", "b"], "text_pair": [None, None], "label": ["1", "0"], "origin": ["x:1", "x:2"]},
        schema=dict.fromkeys(("text", "text_pair", "label", "origin"), pl.String),
    )
    plain = pl.DataFrame({"text": ["a", "b", "c"], "label": [1, 1, 1]})
    first = create(store, classic, FIRST_SCHEMA, targets={"label_names": ["0", "1"]})
    second = create(store, plain, schema_of(plain, {"text": "text", "label": "target"}))
    diff = diff_versions(store, first.digest, second.digest)
    assert diff.counts() == {"added": 1, "removed": 0, "relabelled": 1, "changed": 0, "unchanged": 1}
    assert diff.rows.filter(kind="relabelled").select("text", "label_before", "label").rows() == [("b", "0", "1")]
    chats = create(store, frame_of(ROWS))
    counts = diff_versions(store, first.digest, chats.digest).counts()
    assert (counts["unchanged"], counts["added"] + counts["changed"], counts["removed"] + counts["changed"]) == (
        0,
        4,
        2,
    )


def test_checked_out_files_hold_the_values(store, tmp_path):
    manifest = create(store, frame_of(ROWS))
    (lines,) = checkout_version(store, manifest.digest, tmp_path / "lines", "jsonl")
    written = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    names = [name for name in ROLES if name != "origin"]
    assert written == [dict(zip(names, row, strict=True)) for row in ROWS]
    (table,) = checkout_version(store, manifest.digest, tmp_path / "table", "csv")
    with table.open(encoding="utf-8", newline="") as stream:
        first = next(csv.DictReader(stream))
    assert (json.loads(first["messages"]), first["stars"]) == (HELLO, "5")
    (parquet,) = checkout_version(store, manifest.digest, tmp_path / "parquet", "parquet")
    assert pl.read_parquet(parquet).equals(frame_of(ROWS).drop("origin"))
    (loaded,) = store.load_tables(manifest.digest)["train"]
    assert json.loads(loaded.frame["messages"][0]) == HELLO
    assert loaded.frame["stars"].to_list() == ["5", None, "-3", "0"]


@pytest.mark.parametrize(
    ("column", "label", "value", "wrong"),
    [
        ("stars", "4", 4, ["four", "4.5", "null", "[4]", ""]),
        ("weight", "2", 2.0, ['"2"', "NaN", "Infinity", "1e999"]),
        ("tags", '["b", "c"]', ["b", "c"], ["b", '"b"', "[1]", '{"a": "b"}']),
    ],
)
def test_targets_of_any_dtype_are_relabelled_and_nothing_else_gets_in(store, column, label, value, wrong):
    manifest = create(store, frame_of(ROWS))
    change = {"split": "train", "index": 1, "column": column, "label": label}
    made = relabel_rows(store, manifest.digest, [change, {"split": "train", "index": 3, "label": None}])
    assert (made["changed"], made["removed"]) == (1, 1)
    rows = store.load_rows(store.get(made["digest"]), "train")
    assert (rows[column].to_list()[1], rows.height) == (value, 3)
    assert store.get(made["digest"]).statistics == {
        "total_samples": 3, "label_counts": {}, "imbalance_ratio": None, "is_balanced": True
    }  # fmt: skip
    for refused in wrong:
        with pytest.raises(UsageError, match="is no label of this version"):
            relabel_rows(store, manifest.digest, [{**change, "label": refused}])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"column": "stars", "label": "4"}, {"column": "stars", "label": "5"}),
        ({"column": "stars", "label": "4"}, {"column": "stars", "label": "4"}),
        ({"column": "stars", "label": "4"}, {"label": None}),
        ({"label": None}, {"column": "tags", "label": "[]"}),
        ({"label": None}, {"label": None}),
    ],
)
def test_a_row_that_is_named_twice_is_refused_by_name(
    store: VersionStore, first: dict[str, Any], second: dict[str, Any]
) -> None:
    digest = create(store, frame_of(ROWS)).digest
    row: dict[str, Any] = {"split": "train", "index": 1}
    with pytest.raises(UsageError, match="train row 1 is named twice"):
        relabel_rows(store, digest, [{**row, **first}, {**row, "index": 0, **second}, {**row, **second}])
    assert [manifest.digest for manifest in store.list_all()] == [digest]


def test_a_row_may_have_another_label_in_each_column(store: VersionStore) -> None:
    digest = create(store, frame_of(ROWS)).digest
    changes = [
        {"split": "train", "index": 1, "column": "stars", "label": "4"},
        {"split": "train", "index": 1, "column": "tags", "label": '["b"]'},
    ]
    made = store.load_rows(store.get(relabel_rows(store, digest, changes)["digest"]), "train")
    assert made.row(1, named=True)["stars"] == 4
    assert made.row(1, named=True)["tags"] == ["b"]


def test_target_has_to_be_named_where_there_are_several_and_to_exist(store):
    digest = create(store, frame_of(ROWS)).digest
    for named in ({}, {"column": "messages"}, {"column": "nothing"}):
        with pytest.raises(UsageError, match="has no target column") as caught:
            relabel_rows(store, digest, [{"split": "train", "index": 0, "label": "x", **named}])
        assert caught.value.remedy == "name one of: tags, stars, weight"


@pytest.mark.parametrize(
    ("frame", "roles", "said"),
    [
        ({"kind": ["a"]}, {"kind": "text"}, "cannot have a column 'kind'"),
        ({"a_before": ["a"]}, {"a_before": "text"}, "cannot have a column 'a_before'"),
        ({"a": [1]}, {"a": "target"}, "needs a column of role text"),
        ({"a": ["a"], "origin": ["b"]}, {"a": "text", "origin": "target"}, "says where a row came from"),
        ({"a": ["a"]}, {"b": "text"}, "no column 'b'"),
        ({"a": [b"a"]}, {"a": "text"}, "holds Binary, which a version cannot keep"),
        ({"a": pl.Series([1 << 63], dtype=pl.UInt64)}, {"a": "text"}, "holds UInt64, which a version cannot keep"),
    ],
)
def test_columns_that_cannot_be_kept_are_refused(frame, roles, said):
    with pytest.raises(DataError, match=said):
        schema_of(pl.DataFrame(frame), roles)


def test_rows_of_other_columns_than_the_schema_are_refused(store):
    with pytest.raises(DataError, match="no column 'stars'"):
        create(store, frame_of(ROWS).drop("stars"))
    with pytest.raises(DataError, match="column 'stars' holds String, not integer"):
        create(store, frame_of(ROWS).with_columns(stars=pl.lit("5")))


def test_damaged_schema_is_named(store):
    manifest = create(store, frame_of(ROWS))
    path = store.folder / "versions" / f"{manifest.digest}.json"
    whole = json.loads(path.read_text(encoding="utf-8"))
    for broken in ([{"name": "a", "dtype": "colour", "role": "text"}], [{"name": "a", "dtype": "string"}], [], "text"):
        path.write_text(json.dumps({**whole, "schema": broken}), encoding="utf-8")
        with pytest.raises(StorageError, match="is damaged"):
            store.get(manifest.digest)
