"""Places of findings in files that are not plain UTF-8: the line is read once more where it stands, and has columns."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest

from finetune30.service.datasets.checking import check_rows
from finetune30.service.datasets.operations import request_of_source
from finetune30.settings import load_settings

ROWS = "房間又小又髒服務人員態度很差完全不推薦大家來住"


def places_of(path: Path) -> list[str]:
    """Return the places of texts that are missing."""
    checked = check_rows(request_of_source(str(path)), load_settings(), lambda _: None)
    return checked.validation.findings.filter(checked.validation.findings["rule"] == "empty_text")["place"].to_list()


@pytest.mark.parametrize("codec", ["utf-8", "utf-16", "utf-16-le", "big5"])
def test_column_is_that_of_the_decoded_line(codec: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(f"label,text\n很好,{ROWS}\n不好,\n".encode(codec))
    assert places_of(tmp_path / "a.csv") == ["a.csv:3:4"]
    (tmp_path / "a.jsonl").write_bytes(
        f'{{"label": "很好", "text": "{ROWS}"}}\n{{"label": "不好", "text": ""}}\n'.encode(codec)
    )
    assert places_of(tmp_path / "a.jsonl") == ["a.jsonl:2:25"]


def test_column_in_a_packed_file_is_that_of_the_line_inside(tmp_path: Path) -> None:
    content = b"label,text\npos,good film\nneg,\n"
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(content))
    assert places_of(tmp_path / "a.csv.gz") == ["a.csv.gz:3:5"]
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("folder/reviews.csv", content)
    assert places_of(tmp_path / "a.zip") == ["a.zip/reviews.csv:3:5"]
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("x/train.csv", content)
        archive.writestr("x/test.csv", content)
    assert places_of(tmp_path / "b.zip") == ["b.zip/train.csv:3:5", "b.zip/test.csv:3:5"]


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("'label','text'\n'pos','good, film'\n'n;eg',''\n", "a.csv:3:8"),
        ("# made today\nlabel,text\npos,good film\nneg,\n", "a.csv:4:5"),
        ('label, text\n"pos", "good, film"\n"neg", ""\n', "a.csv:3:7"),
    ],
)
def test_column_follows_how_cells_are_quoted(content: str, place: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(content)
    assert places_of(tmp_path / "a.csv") == [place]
