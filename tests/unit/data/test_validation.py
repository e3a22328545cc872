"""Rules, places and the gate: one planted fault of every kind, and real sets counted a second way."""

import csv
import json
import random
import re

import polars as pl
import pytest

from finetune30.config.data import DataConfig
from finetune30.data.encoding import TokenCounts
from finetune30.data.loading import load_rows
from finetune30.data.prepare import prepare_data
from finetune30.data.row_ids import split_row_id
from finetune30.data.validation.findings import DEFAULT_SEVERITIES, WHOLE_ROW
from finetune30.data.validation.near_duplicates import SHINGLE_CHARACTERS, find_near_duplicates, normalize
from finetune30.data.validation.quarantine import apply_gate, encode_quarantine
from finetune30.data.validation.validate import validate_rows
from finetune30.errors import DataError, DataFileError
from finetune30.problems import choose_problem

WORDS = (
    "amber basket candle drizzle ember feather garden harbour island jigsaw kettle lantern marble nectar orchard "
    "pebble quarry ribbon saddle timber umbrella velvet willow yonder zephyr anchor blossom copper dolphin engine "
    "falcon ginger hammer insect jacket kitten ladder mirror needle oyster pepper quiver rabbit silver tunnel urchin "
    "violin window yellow zipper acorn bridge cactus donkey easel fossil goblet hazel igloo jungle"
).split()


#: A limit as a user sets it; without one no row is too short.
AT_LEAST_FIVE = {"min_text_length": 5}


def sentences(count: int, seed: int = 1) -> list[list[str]]:
    generator = random.Random(seed)
    return [
        [" ".join(generator.choices(WORDS, k=generator.randint(7, 12))), ("bad", "good")[index % 2]]
        for index in range(count)
    ]


def write(path, rows, header=("text", "label")):
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle, lineterminator="\n").writerows([list(header), *rows])
    return path


def validate(path, count_tokens=None, expected=None, **data):
    config = DataConfig(dataset_name=str(path), **data)
    loaded = load_rows(config, lambda message: None, problem=choose_problem("auto"))
    return loaded, validate_rows(loaded, config, expected_labels=expected, count_tokens=count_tokens), config


def prepare(path, num_labels=2, **data):
    config = DataConfig(dataset_name=str(path), train_samples=None, eval_samples=None, **data)
    return prepare_data(config, problem=choose_problem("auto"), num_labels=num_labels, seed=0, log=lambda message: None)


#: Rule → what stands in the row at fault (text, label; None: keep), and the column at which the faulty cell begins.
PLANTED = {
    "missing_label": (None, "", "label"),
    "unknown_label": (None, "goood", "label"),
    "empty_text": ("   ", None, "text"),
    "too_short": ("hm", None, "text"),
    "too_long": ("word after word and then " * 25, None, "text"),
    "truncated": ("so " * 14 + "it goes on and on, " * 5 + "until the end of the line", None, "text"),
    "html": ("quite <b>bold</b> words about lanterns &amp; kettles", None, "text"),
    "control_characters": ("a bell\x07 rings somewhere in this quiet harbour", None, "text"),
    "mojibake": ("the cafÃ© by the orchard serves crÃ¨me brÃ»lÃ©e", None, "text"),
    "replacement_character": ("na\ufffdve questions about the old quarry", None, "text"),
    "repeated_header": ("text", "label", "text"),
    "columns_swapped": ("good", "the lantern was brighter than the moon tonight", "text"),
    "constant_text": ("blah blah blah blah", None, "text"),
    "label_in_text": ("label: {label} the ladder leans on the willow", None, "text"),
    "script_mix": ("昨天晚上的燈籠比月亮還要亮，大家都很驚訝", None, "text"),
}


def test_every_planted_fault_is_found_at_its_line_and_nothing_else(tmp_path):
    rows, evaluation = sentences(5000), sentences(300, seed=2)
    lines = random.Random(3).sample(range(100, 5000), len(PLANTED) + 6)
    expected = set()
    for (rule, (text, label, cell)), line in zip(PLANTED.items(), lines, strict=False):
        row = rows[line - 2]
        row[:] = [row[0] if text is None else text.format(label=row[1]), row[1] if label is None else label]
        quoted = '"' if "," in row[0] else ""
        column = 1 if cell == "text" else len(row[0]) + 2 * len(quoted) + 2
        expected.add((rule, f"train.csv:{line}:{column}"))
    repeated, near, leaking, near_leaking, first, second = lines[len(PLANTED) :]
    original = 40
    rows[repeated - 2] = list(rows[original - 2])
    rows[near - 2] = [rows[original - 1][0] + " indeed", rows[original - 1][1]]
    rows[leaking - 2][0] = " " + evaluation[7][0]
    rows[near_leaking - 2][0] = evaluation[9][0].replace(" ", ", ", 1) + "!"
    first, second = sorted((first, second))
    rows[first - 2][1], rows[second - 2] = "good", [rows[first - 2][0], "bad"]
    expected |= {("exact_duplicate", f"train.csv:{repeated}:1"), ("near_duplicate", f"train.csv:{near}:1")}
    expected |= {("leakage", f"train.csv:{leaking}:1"), ("near_leakage", f"train.csv:{near_leaking}:1")}
    expected |= {("contradictory_label", f"train.csv:{line}:1") for line in (first, second)}
    for line in (20, 30, 35):
        rows[line - 2][1] = "neutral"
    expected.add(("small_class", f"train.csv:20:{len(rows[18][0]) + 2}"))
    write(tmp_path / "train.csv", rows)
    write(tmp_path / "dev.csv", evaluation)

    def count_tokens(texts, pairs):
        return TokenCounts([len(text.split()) for text in texts])

    limits = {"min_text_length": 5, "max_text_length": 500}
    _, validation, _ = validate(tmp_path, count_tokens, max_length=32, validation_rules=limits)
    found = set(validation.findings.select("rule", "place").iter_rows())
    assert found == expected
    of_conversations = {*WHOLE_ROW, "special_token", "contradictory_answer"}
    of_groups = {"group_leakage"}
    assert {rule for rule, _ in expected} == {*DEFAULT_SEVERITIES} - of_conversations - of_groups
    assert validation.findings["fix"].null_count() == 0


def test_clean_rows_have_no_findings(tmp_path):
    _, validation, _ = validate(write(tmp_path / "a.csv", sentences(2000)))
    assert validation.findings.is_empty()


def test_places_know_quotes_tabs_and_json(tmp_path):
    (tmp_path / "a.csv").write_text('id,text,label\n1,"a, b and <b>c</b>",x\n2,another text here,y\n3,"two\nlines",\n')
    _, validation, _ = validate(tmp_path / "a.csv")
    assert {"a.csv:2:3", "a.csv:4"} <= set(validation.findings["place"])
    (tmp_path / "a.jsonl").write_text(
        '{"label": "x", "text": "some <i>text</i> here"}\n{"text": "other words", "label": "y"}\n'
    )
    _, validation, _ = validate(tmp_path / "a.jsonl")
    assert validation.findings.filter(pl.col("rule") == "html")["place"].to_list() == ["a.jsonl:1:24"]


def test_gate_stops_above_the_limit_with_counts_examples_and_the_setting(tmp_path):
    rows = sentences(100)
    for index in (10, 20):
        rows[index][0] = "hm"
    path = write(tmp_path / "a.csv", rows)
    with pytest.raises(
        DataError, match=r"2 faulty train rows \(2\.0%, allowed 1\.0%: 2 too_short\), for example a\.csv:12:1 'hm'"
    ) as caught:
        prepare(path, validation_rules=AT_LEAST_FIVE)
    assert "data.validation_rules.min_text_length, data.gate.max_faulty_share" in caught.value.remedy
    data = prepare(path, validation_rules=AT_LEAST_FIVE, gate={"max_faulty_share": 0.05})
    assert data.quarantine.select("row_id", "reason", "text").rows() == [
        ("a.csv:12", "too_short", "hm"),
        ("a.csv:22", "too_short", "hm"),
    ]


def test_strict_gate_stops_at_the_first_fault_of_the_file(tmp_path):
    rows = sentences(100)
    rows[50][1] = ""
    rows[20][0] = "hm"
    with pytest.raises(DataFileError, match=r"a\.csv:22:1: too_short: 'hm'"):
        prepare(write(tmp_path / "a.csv", rows), gate={"mode": "strict"}, validation_rules=AT_LEAST_FIVE)


def test_report_gate_keeps_contradictory_rows(tmp_path):
    rows = sentences(50)
    rows[10] = [rows[11][0], "bad"]
    rows[11][1] = "good"
    path = write(tmp_path / "a.csv", rows)
    assert prepare(path, gate={"mode": "report"}).quarantine.is_empty()
    aside = prepare(path, gate={"max_contradictory_share": 1.0}).quarantine
    assert aside["reason"].to_list() == ["contradictory_label"] * 2


def test_severities_can_be_changed(tmp_path):
    rows = sentences(200)
    rows[10][0] = "the cafÃ© by the orchard serves crÃ¨me brÃ»lÃ©e"
    path = write(tmp_path / "a.csv", rows)
    fixed = prepare(path, gate={"fix_rules": ["mojibake"]})
    texts = set(fixed.train["text"]) | set(fixed.evaluation["text"])
    assert "the café by the orchard serves crème brûlée" in texts
    assert prepare(path, gate={"off_rules": ["mojibake"]}).report["findings"] == []
    assert prepare(path, gate={"error_rules": ["mojibake"]}).quarantine["row_id"].to_list() == ["a.csv:12"]


def test_quarantine_file_keeps_the_rows_as_they_were_read(tmp_path):
    rows = sentences(100)
    rows[30] = ["<p> </p>", "good"]
    data = prepare(write(tmp_path / "a.csv", rows))
    (row,) = [json.loads(line) for line in encode_quarantine(data.quarantine).decode().splitlines()]
    assert (row["text"], row["label"], row["reason"], row["place"]) == ("<p> </p>", "good", "empty_text", "a.csv:32:1")


def read_pairs(path, delimiter=","):
    with path.open(newline="", encoding="utf-8") as handle:
        if delimiter == "\t":
            return [tuple(line.rstrip("\n").split("\t")) for line in handle][1:]
        return [tuple(row) for row in csv.reader(handle)][1:]


def independent_counts(train, evaluation):
    """Count duplicates, contradictions and leaks again, by plain dictionaries."""
    seen: dict[str, list[str]] = {}
    for text, label in train:
        seen.setdefault(text.strip(), []).append(label)
    tested = {text.strip() for text, _ in evaluation}
    repeated = sum(len(labels) - len(set(labels)) for labels in seen.values())
    contradictory = sum(len(labels) for labels in seen.values() if len(set(labels)) > 1)
    leaking = sum(len(labels) for text, labels in seen.items() if text in tested)
    return {"exact_duplicate": repeated, "contradictory_label": contradictory, "leakage": leaking}


@pytest.mark.parametrize(
    ("name", "train", "evaluation", "delimiter", "known"),
    [
        ("sst2", "train.tsv", "dev.tsv", "\t", {"exact_duplicate": 366, "contradictory_label": 10, "leakage": 0}),
        ("trec", "train.csv", "test.csv", ",", {"leakage": 10}),
        ("banking77", "train.csv", "test.csv", ",", {"leakage": 6}),
    ],
)
def test_real_sets_give_the_counts_of_an_independent_check(shared_data, name, train, evaluation, delimiter, known):
    folder = shared_data / name
    counted = independent_counts(*(read_pairs(folder / file, delimiter) for file in (train, evaluation)))
    rules = {"min_text_length": 0, "max_text_length": 10_000}
    _, validation, _ = validate(folder, validation_rules=rules, gate={"near_duplicates": False})
    found = dict(validation.findings.filter(pl.col("split") == "train")["rule"].value_counts().iter_rows())
    assert {rule: found.get(rule, 0) for rule in counted} == counted
    assert known.items() <= counted.items()


def test_near_duplicates_equal_a_search_over_all_pairs(shared_data):
    lines = read_pairs(shared_data / "trec" / "train.csv")[:2500]
    texts = pl.Series([text.strip() for text, _ in lines]).unique(maintain_order=True)
    found = {position for row in find_near_duplicates(texts).iter_rows() for position in row[:2]}
    shingles: list[set[str]] = []
    holders: dict[str, list[int]] = {}
    expected: set[int] = set()
    for position, text in enumerate(normalize(texts)):
        grams = (
            {text[i : i + SHINGLE_CHARACTERS] for i in range(len(text) - SHINGLE_CHARACTERS + 1)}
            if len(text) >= 12
            else set()
        )
        shared: dict[int, int] = {}
        for gram in grams:
            for other in holders.get(gram, ()):
                shared[other] = shared.get(other, 0) + 1
            holders.setdefault(gram, []).append(position)
        for other, count in shared.items():
            if count / (len(grams) + len(shingles[other]) - count) >= 0.85:
                expected |= {other, position}
        shingles.append(grams)
    assert found == expected


def test_row_ids_split_into_source_line_and_column():
    assert split_row_id("a.csv:12") == ("a.csv", 12, 0)
    assert split_row_id("folder/a.json:3:14") == ("folder/a.json", 3, 14)
    assert split_row_id("version:ab12cd/train:7") == ("version:ab12cd/train", 7, 0)


def test_findings_name_what_to_do(tmp_path):
    rows = sentences(400)
    rows[10][1] = "goood"
    _, validation, _ = validate(write(tmp_path / "a.csv", rows))
    assert validation.findings["fix"].to_list() == ["did you mean 'good'?"]


def test_gate_measures_shares_by_split(tmp_path):
    rows = sentences(1000)
    rows[5][0] = ""
    loaded, validation, config = validate(write(tmp_path / "a.csv", rows))
    limits = apply_gate(validation, loaded.rows, config.gate).limits
    assert limits["max_faulty_share:train"] == {
        "limit": "max_faulty_share",
        "split": "train",
        "rows": 1,
        "share": 0.001,
        "allowed": 0.01,
    }
    assert re.fullmatch(r"[\w:]+", next(iter(limits)))
