"""A slice of `make fuzz-readers`: damaged files end in rows that an independent count confirms, or in an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.damaged import build_corpus, damage
from support.damaged_reading import Reader, count_rows


@pytest.mark.parametrize("seed", [11, 12])
def test_damaged_files_are_read_with_the_right_count_or_refused(seed: int, tmp_path: Path) -> None:
    corpus = build_corpus(tmp_path / "corpus")
    with Reader(tmp_path) as reader:
        found = [reader.read(damage(corpus, seed, number, tmp_path / f"{number}")) for number in range(len(corpus))]
    assert [answer for answer in found if answer[0].startswith("WRONG")] == []
    assert {"read, counted anew", "refused (data_file_error)"} <= {outcome for outcome, _ in found}


def test_count_is_one_of_its_own(tmp_path: Path) -> None:
    from finetune30.data.sources.files import load_file

    path = tmp_path / "a.csv"
    path.write_text('text,label\n"a ""b""\nc",1\n\nd,2\r\ne,"3"')
    assert count_rows(path, [load_file(path)]) == 3
    path.write_text("text,label\na,1\nb,2\n")
    table = load_file(path)
    path.write_text("text,label\na,1\nb,2\nc,3\n")
    assert count_rows(path, [table]) == 3
