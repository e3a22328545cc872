"""Suspect labels: planted wrong labels come first, and a reviewed file becomes a version."""

import csv
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from finetune30.data.versions.compare import diff_versions
from finetune30.data.versions.schema import Role, schema_of
from finetune30.errors import DataError, DataFileError, UsageError
from finetune30.problems.classification.suspects import rank_multi_label, rank_single_label
from finetune30.service.datasets.operations import open_versions
from finetune30.service.suspects.suspects import Suspects, apply_review, export_suspects
from finetune30.settings import load_settings

NAMES = ("bad", "good")
WRONG = (3, 40, 77)


def build_rows(count=100):
    labels = [NAMES[(index + (index in WRONG)) % 2] for index in range(count)]
    texts = [f"=text {index}" for index in range(count)]
    return pl.DataFrame(
        {"text": texts, "text_pair": None, "label": labels, "origin": [f"a.csv:{index + 2}" for index in range(count)]},
        schema_overrides={"text_pair": pl.String},
    )


def build_logits(count=100):
    noise = np.random.default_rng(0).normal(0, 0.3, (count, 2))
    return np.array([[2.0, -2.0] if index % 2 == 0 else [-2.0, 2.0] for index in range(count)]) + noise


@pytest.fixture
def found():
    with open_versions(load_settings()) as versions:
        manifest, _ = versions.create(
            {"train": build_rows()},
            targets={"label_names": list(NAMES)},
            problem_type="single_label_classification",
            source={"name": "a"},
        )
    ranked, method = rank_single_label(build_rows(), build_logits(), manifest.targets)
    return Suspects("run", manifest, ranked, method)


def review(path, changes):
    with path.open(newline="", encoding="utf-8-sig") as handle:
        rows = list(csv.DictReader(handle))
    for row in rows:
        row["new_label"] = changes.get(int(row["row"]), "")
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return rows


def test_planted_wrong_labels_are_the_suspects(found):
    tree = found.as_dict(limit=3)
    assert tree["suspects"] == 3
    assert {row["row"] for row in tree["ranking"]} == set(WRONG)
    assert all(row["label"] != row["suggested_label"] for row in tree["ranking"])


def test_multi_label_rows_are_ranked_too():
    rows = build_rows(60).with_columns(
        pl.Series("label", ['["a"]' if i % 2 == 0 else '["b"]' for i in range(59)] + ['["a"]'])
    )
    logits = np.array([[3.0, -3.0] if i % 2 == 0 else [-3.0, 3.0] for i in range(60)])
    ranked, _ = rank_multi_label(rows, logits, {"label_names": ["a", "b"]})
    assert (ranked["row"][0], ranked["suggested_label"][0]) == (59, '["b"]')


def test_reviewed_file_becomes_a_version_with_the_rows_relabelled(found, tmp_path):
    path = tmp_path / "review.csv"
    assert export_suspects(found, path) == 3
    rows = review(path, {3: "good", 40: "good", 77: "REMOVE"})
    assert all(row["text"].startswith("'=text") for row in rows)  # no spreadsheet may run it
    result = apply_review(load_settings(), path)
    assert (result["changed"], result["removed"], result["is_new"]) == (1, 1, True)
    with open_versions(load_settings()) as versions:
        manifest = versions.get(result["digest"])
        diff = diff_versions(versions, found.version.digest, manifest.digest)
    assert manifest.parent == found.version.digest
    assert diff.counts() == {"added": 0, "removed": 1, "relabelled": 1, "changed": 0, "unchanged": 98}


def test_review_without_a_new_label_or_with_an_unknown_one_is_refused(found, tmp_path):
    path = tmp_path / "review.csv"
    export_suspects(found, path)
    with pytest.raises(DataError, match="has a new_label"):
        apply_review(load_settings(), path)
    review(path, {3: "splendid"})
    with pytest.raises(DataFileError, match=r"review\.csv:\d: 'splendid' is no label of this version"):
        apply_review(load_settings(), path)


KINDS = {
    "multi_label_classification": (("joy", "anger"), '["joy"]', '["anger",  "joy"]', '["anger", "joy"]', '["fear"]'),
    "regression": ((), "1.5", "2.25", "2.25", "much"),
}


@pytest.mark.parametrize("problem_type", KINDS)
def test_review_of_other_kinds_of_labels_is_checked_stored_as_written_and_counted(tmp_path, problem_type):
    names, label, new, stored, unknown = KINDS[problem_type]
    rows = build_rows(4).with_columns(pl.lit(label).alias("label"))
    with open_versions(load_settings()) as versions:
        parent, _ = versions.create(
            {"train": rows}, targets={"label_names": list(names)}, problem_type=problem_type, source={"name": "a"}
        )

    def write_review(**reviewed):
        lines = [f"{number.lstrip('row')};{text};{parent.digest}" for number, text in reviewed.items()]
        (tmp_path / "review.csv").write_text("row;new_label;version\n" + "\n".join(lines) + "\n")
        return tmp_path / "review.csv"

    twice = tmp_path / "twice.csv"
    twice.write_text(
        f"row;new_label;version\n1;{new};{parent.digest}\n2;{new};{parent.digest}\n1;REMOVE;{parent.digest}\n"
    )
    with pytest.raises(DataFileError, match=r"twice\.csv:4: row 1 has a new_label in line 2 too"):
        apply_review(load_settings(), twice)
    for wrong in (unknown, "nonsense", "[]x", "nan", "[" * 20_000):
        with pytest.raises(DataFileError, match="is no label of this version"):
            apply_review(load_settings(), write_review(row0=wrong))
    with pytest.raises(UsageError, match="no row of train would be left"):
        apply_review(load_settings(), write_review(row0="REMOVE", row1="REMOVE", row2="REMOVE", row3="REMOVE"))
    result = apply_review(load_settings(), write_review(row0=new, row1=label, row2="REMOVE"))
    assert (result["changed"], result["removed"]) == (1, 1)
    with open_versions(load_settings()) as versions:
        made = versions.get(result["digest"])
        assert versions.load_rows(made, "train")["label"].to_list() == [stored, label, label]
    assert made.statistics["total_samples"] == 3
    assert made.statistics["label_counts"] == ({"anger": 1, "joy": 3} if names else {})


def test_texts_and_target_are_exported_under_the_names_of_the_version(tmp_path: Path) -> None:
    rows = build_rows().select(
        pl.col("text").alias("prompt"), pl.lit("so").alias("completion"), pl.col("label").alias("grade"), "origin"
    )
    roles: dict[str, Role] = {"prompt": "text", "completion": "text", "grade": "target", "origin": "origin"}
    with open_versions(load_settings()) as versions:
        manifest, _ = versions.create(
            {"train": rows},
            targets={"label_names": list(NAMES)},
            schema=schema_of(rows, roles),
            problem_type="single_label_classification",
            source={"name": "a"},
        )
    judged = rows.with_row_index("row").with_columns(
        pl.lit("good").alias("suggested_label"), pl.lit(0.5).alias("score"), (pl.col("row") == 4).alias("is_suspect")
    )
    path = tmp_path / "review.csv"
    assert export_suspects(Suspects("run", manifest, judged, "by hand"), path) == 1
    (row,) = review(path, {4: "good"})
    assert (row["prompt"], row["completion"], row["grade"]) == ("'=text 4", "so", "bad")
    assert apply_review(load_settings(), path)["changed"] == 1
