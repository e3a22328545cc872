"""Data sets of the stand-in hub: the layouts of well-known ones, with rows made by rule."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from support.stand_in_hub.repositories import Repository
from support.stand_in_hub.sentences import write_chinese_reviews, write_feelings, write_pairs, write_reviews

Files = dict[str, bytes | Path]
Row = dict[str, Any]
#: Columns as a README describes them: {"text": "string", "label": ["negative", "positive"]}; names make a ClassLabel.
Columns = Mapping[str, str | Sequence[str]]

SENTIMENTS = ("negative", "positive")
EMOTIONS = (
    "admiration amusement anger annoyance approval caring confusion curiosity desire disappointment disapproval "
    "disgust embarrassment excitement fear gratitude grief joy love nervousness optimism pride realization relief "
    "remorse sadness surprise neutral"
).split()
#: Where labels are kept secret.
UNLABELLED = -1


def build_data_sets() -> list[Repository]:
    """Return all data sets."""
    reviews = _csv_files()
    return [
        Repository("datasets", "nyu-mll/glue", _build_glue(), aliases=("glue",), tags=("v1",)),
        Repository("datasets", "stanfordnlp/imdb", _build_imdb(), aliases=("imdb",)),
        Repository("datasets", "google-research-datasets/go_emotions", _build_go_emotions(), aliases=("go_emotions",)),
        Repository("datasets", "lansinuote/ChnSentiCorp", _build_chinese_reviews()),
        Repository("datasets", "stand-in/csv-files", reviews),
        Repository("datasets", "stand-in/json-lines", _build_json_lines()),
        Repository("datasets", "stand-in/many-parquet-files", _build_many_parquet_files()),
        Repository("datasets", "stand-in/two-configurations", _build_two_configurations()),
        Repository("datasets", "stand-in/script-only", _build_script_only()),
        Repository(
            "datasets", "stand-in/empty", {".gitattributes": b"*.parquet filter=lfs diff=lfs merge=lfs -text\n"}
        ),
        Repository("datasets", "stand-in/private-rows", reviews, private=True),
        Repository("datasets", "stand-in/gated-rows", reviews, gated="manual"),
        Repository("datasets", "stand-in/disabled-rows", reviews, disabled=True),
    ]


# --- well-known layouts


def _build_glue() -> Files:
    """Three configurations; the first of the README has no labels at all, as the real one."""
    entailment = ("entailment", "neutral", "contradiction")
    ax: Columns = {"premise": "string", "hypothesis": "string", "label": entailment, "idx": "int32"}
    sst2: Columns = {"sentence": "string", "label": SENTIMENTS, "idx": "int32"}
    stsb: Columns = {"sentence1": "string", "sentence2": "string", "label": "float32", "idx": "int32"}
    hidden = [
        {"premise": first, "hypothesis": second, "label": UNLABELLED, "idx": number}
        for number, (first, second, _) in enumerate(write_pairs(30, "ax"))
    ]
    parts: dict[str, tuple[Columns, dict[str, list[Row]]]] = {
        "ax": (ax, {"test": hidden}),
        "sst2": (sst2, {split: _sst2_rows(split, count) for split, count in _SST2_ROWS.items()}),
        "stsb": (stsb, {split: _stsb_rows(split, count) for split, count in _STSB_ROWS.items()}),
    }
    return _parquet_set("glue", {name: (name, *part) for name, part in parts.items()})


_SST2_ROWS = {"train": 400, "validation": 80, "test": 40}
_STSB_ROWS = {"train": 120, "validation": 45, "test": 30}


def _sst2_rows(split: str, count: int) -> list[Row]:
    return [
        {"sentence": text, "label": UNLABELLED if split == "test" else label, "idx": number}
        for number, (text, label) in enumerate(write_reviews(count, f"sst2 {split}"))
    ]


def _stsb_rows(split: str, count: int) -> list[Row]:
    return [
        {"sentence1": first, "sentence2": second, "label": UNLABELLED if split == "test" else score, "idx": number}
        for number, (first, second, score) in enumerate(write_pairs(count, f"stsb {split}"))
    ]


def _build_imdb() -> Files:
    columns: Columns = {"text": "string", "label": ("neg", "pos")}
    splits: dict[str, list[Row]] = {
        split: [
            {"text": text, "label": UNLABELLED if split == "unsupervised" else label}
            for text, label in write_reviews(count, f"imdb {split}", long=True)
        ]
        for split, count in {"train": 200, "test": 100, "unsupervised": 50}.items()
    }
    return _parquet_set("imdb", {"plain_text": ("plain_text", columns, splits)})


def _build_go_emotions() -> Files:
    """Several labels a row ("simplified", which is the default) and, first in the README, one column a label."""
    several: Columns = {"text": "string", "labels": [*EMOTIONS, "..."], "id": "string"}
    columns: Columns = {"text": "string", "id": "string", **dict.fromkeys(EMOTIONS, "int32")}
    splits = {
        split: write_feelings(count, f"emotions {split}", EMOTIONS)
        for split, count in {"train": 280, "validation": 56, "test": 56}.items()
    }
    simplified: dict[str, list[Row]] = {
        split: [{"text": text, "labels": labels, "id": f"{split}{n}"} for n, (text, labels) in enumerate(rows)]
        for split, rows in splits.items()
    }
    raw: list[Row] = [
        {"text": text, "id": f"raw{n}", **{name: int(number in labels) for number, name in enumerate(EMOTIONS)}}
        for n, (text, labels) in enumerate(splits["train"])
    ]
    return _parquet_set(
        "go_emotions",
        {"raw": ("raw", columns, {"train": raw}), "simplified": ("simplified", several, simplified)},
        default="simplified",
    )


def _build_chinese_reviews() -> Files:
    """No configurations in the README, file names with hashes, and labels that are plain numbers."""
    columns: Columns = {"text": "string", "label": "int64"}
    counts = {"train": 300, "validation": 60, "test": 60}
    splits = {
        split: [{"text": text, "label": label} for text, label in write_chinese_reviews(count, f"chinese {split}")]
        for split, count in counts.items()
    }
    card = {"language": ["zh"], "dataset_info": _describe(columns, splits)}
    files = {
        f"data/{split}-00000-of-00001-{number:016x}.parquet": _parquet(columns, rows)
        for number, (split, rows) in enumerate(splits.items(), start=0xA1B2)
    }
    return {"README.md": _readme("ChnSentiCorp", card), **files}


# --- other layouts


def _csv_files() -> Files:
    """Nothing but two files; labels are words."""
    return {
        f"{split}.csv": _separated([("text", "label"), *_named_reviews(count, f"csv {split}")], ",")
        for split, count in {"train": 120, "test": 40}.items()
    }


def _build_json_lines() -> Files:
    files = {
        f"{split}.jsonl": "".join(
            json.dumps({"text": text, "label": label}) + "\n" for text, label in _named_reviews(count, f"json {split}")
        ).encode()
        for split, count in {"train": 120, "validation": 40}.items()
    }
    return {"README.md": b"# Rows as JSON lines\n", **files}


def _build_many_parquet_files() -> Files:
    columns: Columns = {"text": "string", "label": SENTIMENTS}

    def part(count: int, seed: str) -> bytes:
        return _parquet(columns, [{"text": text, "label": label} for text, label in write_reviews(count, seed)])

    train = {f"data/train-{number:05d}-of-00003.parquet": part(60, f"many {number}") for number in range(3)}
    return {
        "README.md": _readme("many-parquet-files", {}),
        **train,
        "data/test-00000-of-00001.parquet": part(40, "many"),
    }


def _build_two_configurations() -> Files:
    """CSV with separators that only the README tells; each configuration has rows of its own."""
    card = {
        "configs": [
            {"config_name": "default", "data_files": _split_paths("semicolons"), "sep": ";"},
            {"config_name": "tabs", "data_files": _split_paths("tabs"), "sep": "\t"},
        ]
    }
    files: Files = {"README.md": _readme("two-configurations", card)}
    for folder, separator in {"semicolons": ";", "tabs": "\t"}.items():
        for split, count in {"train": 100, "test": 30}.items():
            rows = _named_reviews(count, f"{folder} {split}")
            files[f"{folder}/{split}.csv"] = _separated([("text", "label"), *rows], separator)
    return files


def _split_paths(folder: str) -> list[dict[str, str]]:
    return [{"split": split, "path": f"{folder}/{split}.csv"} for split in ("train", "test")]


def _build_script_only() -> Files:
    code = b'raise RuntimeError("code of the repository stand-in/script-only ran")\n'
    return {"README.md": _readme("script-only", {}), "script-only.py": code}


# --- pieces


def _parquet_set(
    name: str, parts: Mapping[str, tuple[str, Columns, Mapping[str, list[Row]]]], default: str = ""
) -> Files:
    """Return files and README of configurations, each with folder, columns and rows by split."""
    files: Files = {}
    configs = []
    for config, (folder, columns, splits) in parts.items():
        paths = [{"split": split, "path": f"{folder}/{split}-*"} for split in splits]
        configs.append({"config_name": config, "data_files": paths, **({"default": True} if config == default else {})})
        for split, rows in splits.items():
            files[f"{folder}/{split}-00000-of-00001.parquet"] = _parquet(columns, rows)
    infos = [{"config_name": config, **_describe(columns, splits)} for config, (_, columns, splits) in parts.items()]
    card = {"language": ["en"], "license": "other", "dataset_info": infos, "configs": configs}
    return {"README.md": _readme(name, card), ".gitattributes": b"*.parquet filter=lfs -text\n", **files}


def _describe(columns: Columns, splits: Mapping[str, list[Row]]) -> dict[str, Any]:
    sizes = {split: sum(len(str(row)) for row in rows) for split, rows in splits.items()}
    return {
        "features": [_describe_column(name, type_) for name, type_ in columns.items()],
        "splits": [{"name": s, "num_bytes": sizes[s], "num_examples": len(rows)} for s, rows in splits.items()],
        "download_size": sum(sizes.values()),
        "dataset_size": sum(sizes.values()),
    }


def _describe_column(name: str, type_: str | Sequence[str]) -> dict[str, Any]:
    if isinstance(type_, str):
        return {"name": name, "dtype": type_}
    labels = [label for label in type_ if label != "..."]
    named = {"class_label": {"names": {str(number): label for number, label in enumerate(labels)}}}
    return {"name": name, "sequence": named} if type_[-1] == "..." else {"name": name, "dtype": named}


def _parquet(columns: Columns, rows: Sequence[Row]) -> bytes:
    """Write rows with the description that the datasets library leaves in a file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, _arrow_type(type_)) for name, type_ in columns.items()])
    features = {name: _feature(type_) for name, type_ in columns.items()}
    schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    written = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), written)
    return written.getvalue()


def _arrow_type(type_: str | Sequence[str]) -> Any:
    import pyarrow as pa

    if isinstance(type_, str):
        return pa.type_for_alias(type_)
    return pa.list_(pa.int64()) if type_[-1] == "..." else pa.int64()


def _feature(type_: str | Sequence[str]) -> dict[str, Any]:
    if isinstance(type_, str):
        return {"dtype": type_, "_type": "Value"}
    named = {"names": [label for label in type_ if label != "..."], "_type": "ClassLabel"}
    return {"feature": named, "_type": "Sequence"} if type_[-1] == "..." else named


def _named_reviews(count: int, seed: str) -> list[tuple[str, str]]:
    return [(text, SENTIMENTS[label]) for text, label in write_reviews(count, seed)]


def _separated(rows: Sequence[Sequence[str]], separator: str) -> bytes:
    import csv

    written = io.StringIO(newline="")
    csv.writer(written, delimiter=separator, lineterminator="\n").writerows(rows)
    return written.getvalue().encode()


def _readme(name: str, card: Mapping[str, Any]) -> bytes:
    head = f"---\n{yaml.safe_dump(dict(card), sort_keys=False, allow_unicode=True)}---\n\n" if card else ""
    return f"{head}# {name}\n\nMade up for tests.\n".encode()
