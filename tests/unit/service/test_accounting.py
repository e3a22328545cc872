"""The ledger of a run agrees with what the trainer was given and took, or the run fails."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from finetune30.config.data import DataConfig
from finetune30.data.encoding import EncodedSplit
from finetune30.data.prepare import prepare_data
from finetune30.errors import DataError
from finetune30.problems import choose_problem
from finetune30.service.execution.row_ledger import check_consumption, settle_ledger
from finetune30.training.progress import Progress


def encoded(frame, cut=()):
    size = frame.height
    return EncodedSplit(
        frame["row_id"].to_list(),
        np.zeros(size, dtype=np.int32),
        np.arange(size + 1, dtype=np.int64),
        None,
        np.zeros(size, dtype=np.int64),
        np.isin(np.arange(size), list(cut)),
    )


@pytest.fixture(scope="module")
def data():
    config = DataConfig(dataset_name="starter", train_samples=40, eval_samples=10)
    return prepare_data(config, problem=choose_problem("auto"), num_labels=2, seed=0, log=lambda message: None)


def test_truncated_rows_are_counted_in_their_file(data):
    lines: list[str] = []
    settled = settle_ledger(data, encoded(data.train, cut=(1, 5)), encoded(data.evaluation), lines.append)
    assert settled.ledger["totals"]["train"]["truncated"] == 2
    assert settled.report["ledger"]["reconciled"]
    assert "ledger: train: 864 rows = 40 used (2 truncated) + 824 not_sampled" in lines


def test_row_that_did_not_reach_the_trainer_fails_the_run(data):
    with pytest.raises(DataError, match="the ledger says 40 train rows are used, the trainer consumed 39"):
        settle_ledger(data, encoded(data.train[:39]), encoded(data.evaluation), print)


def test_steps_that_took_other_rows_fail_the_run(data):
    train, evaluation = encoded(data.train), encoded(data.evaluation)
    done = Progress(total_steps=10, steps_per_epoch=5, micro_batch_size=8, epoch=2, samples=80)
    check_consumption(train, evaluation, done, 10)
    check_consumption(train, evaluation, replace(done, step_in_epoch=2, samples=96), 10)
    with pytest.raises(DataError, match="took 79 rows in 2 epochs of 40 used rows"):
        check_consumption(train, evaluation, replace(done, samples=79), 10)
    with pytest.raises(DataError, match="evaluated 9 rows"):
        check_consumption(train, evaluation, done, 9)


def test_parts_of_a_row_are_one_row_of_the_ledger(data):
    parts = encoded(pl.concat([data.train[:1], data.train]))
    assert len(parts) == 41
    assert parts.row_count == 40
    settled = settle_ledger(data, parts, encoded(data.evaluation), print)
    assert settled.report["ledger"]["reconciled"]
    done = Progress(total_steps=6, steps_per_epoch=6, micro_batch_size=8, epoch=1, samples=41)
    check_consumption(parts, encoded(data.evaluation), done, 10)


def test_one_row_of_the_evaluation_that_lost_one_character_is_told(data):
    lost = np.zeros(10, dtype=np.int64)
    lost[9] = 1
    evaluation = replace(encoded(data.evaluation), token_counts={"dropped_characters": lost})
    report = settle_ledger(data, encoded(data.train), evaluation, print).report
    (found,) = [row for row in report["findings"] if row["rule"] == "dropped_characters"]
    assert (found["row_id"], found["split"]) == (data.evaluation["row_id"][9], "evaluation")
    assert found["fix"] == "characters of its messages that the chat template leaves out: 1"
    (counted,) = [entry for entry in report["findings_summary"] if entry["rule"] == "dropped_characters"]
    assert (counted["split"], counted["severity"], counted["count"]) == ("evaluation", "warn", 1)


def test_rows_that_a_template_changes_are_named_one_by_one(data):
    none = np.zeros(40, dtype=np.int64)
    dropped, unlike = none.copy(), none.copy()
    dropped[3], unlike[7] = 1200, 2
    train = replace(encoded(data.train), token_counts={"dropped_characters": dropped, "unlike_asked": unlike})
    evaluation = replace(encoded(data.evaluation), token_counts={"dropped_characters": none[:10]})
    settled = settle_ledger(data, train, evaluation, print)
    found = {row["rule"]: row for row in settled.report["findings"] if row["rule"] in train.token_counts}
    assert {rule: (row["row_id"], row["severity"]) for rule, row in found.items()} == {
        "dropped_characters": (data.train["row_id"][3], "warn"),
        "unlike_asked": (data.train["row_id"][7], "warn"),
    }
    assert found["dropped_characters"]["fix"] == "characters of its messages that the chat template leaves out: 1,200"
    counted = [entry for entry in settled.report["findings_summary"] if entry["rule"] in found]
    assert [(entry["split"], entry["count"]) for entry in counted] == [("train", 1), ("train", 1)]
    assert (
        settle_ledger(data, encoded(data.train), encoded(data.evaluation), print).report["findings"]
        == (data.report["findings"])
    )
