"""Order and shape of batches."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune30.data.batching import collate, epoch_order, evaluation_order, step_batches
from finetune30.data.encoding import EncodedSplit
from support.present import present

lengths_lists = st.lists(st.integers(1, 60), min_size=1, max_size=300)


@given(lengths_lists, st.integers(1, 17), st.integers(0, 2**32 - 1), st.integers(0, 50))
def test_epoch_order_uses_every_row_once_and_is_pure(lengths, rows_per_step, seed, epoch):
    array = np.asarray(lengths, dtype=np.int64)
    order = epoch_order(array, rows_per_step, seed, epoch)
    assert sorted(np.concatenate(order).tolist()) == list(range(len(lengths)))
    assert [len(rows) for rows in order[:-1]] == [rows_per_step] * (len(order) - 1)
    again = epoch_order(array, rows_per_step, seed, epoch)
    assert all(np.array_equal(a, b) for a, b in zip(order, again, strict=True))


def test_epoch_order_differs_between_epochs_and_seeds():
    lengths = np.arange(1, 101)
    first = np.concatenate(epoch_order(lengths, 4, 1, 0))
    assert not np.array_equal(first, np.concatenate(epoch_order(lengths, 4, 1, 1)))
    assert not np.array_equal(first, np.concatenate(epoch_order(lengths, 4, 2, 0)))


def test_epoch_order_buckets_by_length_so_that_padding_is_rare():
    lengths = np.random.default_rng(0).integers(3, 60, size=2000)
    padded = sum(int(lengths[rows].max()) * len(rows) for rows in epoch_order(lengths, 8, 0, 0))
    assert padded < 1.12 * lengths.sum()


@given(lengths_lists, st.integers(1, 9))
def test_evaluation_order_covers_all_rows_longest_first(lengths, size):
    array = np.asarray(lengths, dtype=np.int64)
    rows = np.concatenate(evaluation_order(array, size))
    assert sorted(rows.tolist()) == list(range(len(lengths)))
    assert (np.diff(array[rows]) <= 0).all()


@pytest.fixture
def split() -> EncodedSplit:
    return EncodedSplit(
        row_ids=["f:1", "f:2", "f:3"],
        tokens=np.asarray([1, 2, 3, 4, 5, 6], dtype=np.int32),
        offsets=np.asarray([0, 3, 4, 6]),
        type_ids=np.asarray([0, 0, 1, 0, 0, 1], dtype=np.int8),
        targets=np.asarray([0, 1, 0]),
        truncated=np.zeros(3, dtype=bool),
    )


def test_collate_pads_on_the_right_with_the_given_token(split):
    batch = collate(split, np.asarray([2, 0, 1]), pad_token_id=9)
    assert batch.input_ids.tolist() == [[5, 6, 9], [1, 2, 3], [4, 9, 9]]
    assert batch.attention_mask.tolist() == [[1, 1, 0], [1, 1, 1], [1, 0, 0]]
    assert present(batch.token_type_ids).tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert batch.targets.tolist() == [0, 0, 1]
    assert batch.lengths.tolist() == [2, 3, 1]


def test_step_batches_cut_the_step_without_losing_rows():
    parts = step_batches(np.arange(7), 3)
    assert [part.tolist() for part in parts] == [[0, 1, 2], [3, 4, 5], [6]]


def test_targets_of_tokens_are_padded_with_what_no_loss_looks_at():
    split = EncodedSplit(
        ["a", "b"],
        np.asarray([5, 6, 7, 8], dtype=np.int32),
        np.asarray([0, 1, 4]),
        None,
        np.asarray([-100, 7, 8, -100], dtype=np.int32),
        np.zeros(2, dtype=bool),
        targets_per_token=True,
    )
    batch = collate(split, np.asarray([1, 0]), 9)
    assert batch.targets.tolist() == [[7, 8, -100], [-100, -100, -100]]
    assert batch.part(slice(1, 2)).targets.tolist() == [[-100]]
