"""Every input of docs/inputs-people-have.md, read as `ft30 data validate` reads it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from finetune30.errors import DataError
from finetune30.service.datasets.checking import Checked, check_rows
from finetune30.service.datasets.operations import request_of_source
from finetune30.settings import load_settings
from finetune30.ui.messages import translate_message
from support.inputs import CASES, Case

DOCUMENT = Path(__file__).parents[3] / "docs" / "inputs-people-have.md"
READ = [case for case in CASES if case.rows is not None]
REFUSED = [case for case in CASES if case.rows is None]


def check(case: Case, folder: Path) -> tuple[Checked, str]:
    """Return what the rules say about an input, and every word about it."""
    said: list[str] = []
    checked = check_rows(request_of_source(str(case.write(folder)), **case.options), load_settings(), said.append)
    said += [f"{rule} {place}" for rule, place in checked.validation.findings.select("rule", "place").iter_rows()]
    return checked, "\n".join(said)


def as_set(label: str | None) -> object:
    """Return a label, where it is a list without the order of its names."""
    return sorted(json.loads(label)) if label is not None and label.startswith("[") else label


@pytest.mark.parametrize("case", READ, ids=lambda case: f"{case.number}-{case.thread}")
def test_input_is_read_as_it_is_meant(case: Case, tmp_path: Path) -> None:
    checked, said = check(case, tmp_path)
    rows = checked.loaded.rows.select("text", "label_text").iter_rows()
    assert [(text, as_set(label)) for text, label in rows] == [(t, as_set(label)) for t, label in case.rows or ()]
    assert [pattern for pattern in case.says if not re.search(pattern, said)] == []


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case.number}-{case.thread}")
def test_input_that_cannot_be_read_is_refused_by_what_stands_in_it(case: Case, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        check(case, tmp_path)
    said = f"{caught.value.message}\n{caught.value.remedy}"
    assert [pattern for pattern in case.says if not re.search(pattern, said)] == []
    assert [text for text in said.split("\n") if translate_message("zh", text) is None] == []


def test_document_has_every_input_by_its_report() -> None:
    listed = re.findall(r"^\| (\d+) \| \[(\S+)\]\((\S+)\)", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == [(str(case.number), case.thread, case.address) for case in CASES]
    assert [case.number for case in CASES] == list(range(1, len(CASES) + 1))
